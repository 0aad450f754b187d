//! The banner that clients show before authentication (RFC 4252, section 5.4).

use std::path::Path;

use anyhow::{Context, ensure};

/// The longest banner, in bytes. Every client accepts a packet with a banner of this size (RFC 4253, section 6.1).
const MAX_BANNER_SIZE: usize = 16 * 1024;

/// Reads the banner from a file. Each line of the result ends in CRLF.
///
/// # Errors
/// Fails when the file cannot be read, is not UTF-8, or is longer than [`MAX_BANNER_SIZE`].
pub fn read(file: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(file).with_context(|| format!("--banner-file {}", file.display()))?;
    ensure!(text.len() <= MAX_BANNER_SIZE, "--banner-file {}: at most {MAX_BANNER_SIZE} bytes", file.display());
    Ok(text.trim_end().lines().flat_map(|line| [line, "\r\n"]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_ends_in_crlf() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("banner");
        std::fs::write(&file, "Keep out.\n\nThis is watched.").unwrap();
        assert_eq!(read(&file).unwrap(), "Keep out.\r\n\r\nThis is watched.\r\n");
        std::fs::write(&file, "x".repeat(MAX_BANNER_SIZE + 1)).unwrap();
        assert!(read(&file).unwrap_err().to_string().contains("at most"));
        assert!(read(&dir.path().join("none")).unwrap_err().to_string().contains("--banner-file"));
    }
}
