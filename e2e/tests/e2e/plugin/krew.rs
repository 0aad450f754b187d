//! The manifest by which Krew installs the plugin.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tokio::process::Command;

use bastion_e2e::run::{Run, plugin_folder, repository, unique};

async fn run(command: &mut Command) -> (bool, String) {
    let output = command.output().await.expect("it runs");
    (
        output.status.success(),
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr),
    )
}

async fn folder() -> PathBuf {
    let folder = Run::get().await.dir.join(format!("krew-{}", unique()));
    std::fs::create_dir(&folder).expect("a folder");
    folder
}

async fn manifest(version: &str, folder: &Path) -> (bool, String) {
    let script = repository().join("hack/krew-manifest");
    let urls = ["https://bastion.example.com", "https://bastion.example.com/v0.1.0"];
    run(Command::new(script).arg(version).args(urls).arg(folder)).await
}

/// What Krew itself checks: github.com/kubernetes-sigs/krew, internal/index/validation.
#[tokio::test]
async fn what_it_names_is_what_is_published_and_runs() {
    let folder = folder().await;
    let program = plugin_folder();
    for platform in ["linux_amd64", "linux_arm64"] {
        let archive = folder.join(format!("kubectl-bastion_{platform}.tar.gz"));
        let mut tar = Command::new("tar");
        tar.arg("-czf").arg(&archive).arg("-C").arg(program).arg("kubectl-bastion");
        tar.arg("-C").arg(repository()).arg("LICENSE");
        assert!(run(&mut tar).await.0);
    }
    let (made, text) = manifest("v0.1.0", &folder).await;
    assert!(made, "{text}");
    let manifest: Value = serde_saphyr::from_str(&text).expect("YAML");
    assert_eq!(manifest["apiVersion"], "krew.googlecontainertools.github.com/v1alpha2");
    assert_eq!((&manifest["kind"], &manifest["metadata"]["name"]), (&"Plugin".into(), &"bastion".into()));
    let spec = &manifest["spec"];
    assert_eq!(spec["version"], "v0.1.0");
    let short = spec["shortDescription"].as_str().expect("a description");
    assert!(short.len() <= 50 && !short.ends_with('.') && !text.contains('@'), "{text}");
    let platforms = spec["platforms"].as_array().expect("platforms");
    assert_eq!(platforms.len(), 2, "{text}");
    for platform in platforms {
        let file = platform["uri"].as_str().and_then(|uri| uri.strip_prefix("https://bastion.example.com/v0.1.0/"));
        let file = folder.join(file.expect("a file below the URL"));
        let (_, sum) = run(Command::new("sha256sum").arg(&file)).await;
        assert_eq!(sum.split(' ').next(), platform["sha256"].as_str());
        assert!(platform["selector"]["matchLabels"]["os"] == "linux", "{text}");
    }
    assert!(
        run(Command::new("tar")
            .arg("-xzf")
            .arg(folder.join("kubectl-bastion_linux_amd64.tar.gz"))
            .arg("-C")
            .arg(&folder))
        .await
        .0
    );
    for file in platforms[0]["files"].as_array().expect("files") {
        assert!(folder.join(file["from"].as_str().expect("a name")).is_file(), "{file}");
    }
    let (runs, said) =
        run(Command::new(folder.join(platforms[0]["bin"].as_str().expect("a name"))).arg("--version")).await;
    assert!(runs && said.contains(env!("CARGO_PKG_VERSION")), "{said}");
}

#[tokio::test]
async fn nothing_is_made_of_nothing() {
    let folder = folder().await;
    let (made, said) = manifest("0.1.0", &folder).await;
    assert!(!made && said.contains("there is no kubectl-bastion_OS_ARCH.tar.gz in"), "{said}");
    let (made, said) = manifest("latest", &folder).await;
    assert!(!made && said.contains("latest is no version such as 0.1.0"), "{said}");
}
