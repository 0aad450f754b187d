//! What clients show before anybody signs in (SSH_MSG_USERAUTH_BANNER).

use std::path::Path;

use anyhow::{Context, ensure};

/// No packet that every client takes is longer.
const MAX_BANNER: usize = 16 * 1024;

/// Reads the banner, and has it end its last line.
///
/// # Errors
/// When there is no such file, or it holds no text or too much of it.
pub fn read(file: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(file).with_context(|| format!("--banner-file {}", file.display()))?;
    ensure!(text.len() <= MAX_BANNER, "--banner-file {}: at most {MAX_BANNER} bytes", file.display());
    Ok(text.trim_end().lines().flat_map(|line| [line, "\r\n"]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_ended_as_terminals_want_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("banner");
        std::fs::write(&file, "Keep out.\n\nThis is watched.").unwrap();
        assert_eq!(read(&file).unwrap(), "Keep out.\r\n\r\nThis is watched.\r\n");
        std::fs::write(&file, "x".repeat(MAX_BANNER + 1)).unwrap();
        assert!(read(&file).unwrap_err().to_string().contains("at most"));
        assert!(read(&dir.path().join("none")).unwrap_err().to_string().contains("--banner-file"));
    }
}
