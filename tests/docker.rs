//! The files in docker/ name only settings, flags and paths that exist. They are not run here.

use std::{collections::BTreeSet, path::Path, process::Command};

const DOCKERFILE: &str = include_str!("../docker/Dockerfile");
const COMPOSE: &str = include_str!("../docker/compose.yml");
const CONFIGURATION: &str = include_str!("../docs/configuration.md");

/// Flags of other programs that these files run.
const FLAGS_OF_OTHERS: [&str; 18] = [
    "--bind_ip_all",
    "--build",
    "--eval",
    "--from",
    "--interval",
    "--locked",
    "--no-create-home",
    "--no-install-recommends",
    "--quiet",
    "--profile",
    "--replSet",
    "--retries",
    "--rm",
    "--start-period",
    "--system",
    "--timeout",
    "--uid",
    "--yes",
];

/// Finds every word of the text that begins with `prefix`.
fn words<'t>(text: &'t str, prefix: &str) -> BTreeSet<&'t str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '-')
        .filter(|word| word.starts_with(prefix) && word.len() > prefix.len())
        .collect()
}

#[test]
fn every_variable_is_a_documented_setting() {
    let documented = words(CONFIGURATION, "TIDEGATE_");
    for text in [DOCKERFILE, COMPOSE] {
        let used = words(text, "TIDEGATE_");
        assert!(!used.is_empty());
        assert_eq!(
            used.difference(&documented).collect::<Vec<_>>(),
            Vec::<&&str>::new()
        );
    }
}

#[test]
fn every_flag_and_command_exists() {
    let help = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(["serve", "--help"])
        .output()
        .unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let known = words(&help, "--");
    for text in [DOCKERFILE, COMPOSE] {
        for flag in words(text, "--") {
            assert!(
                known.contains(flag) || FLAGS_OF_OTHERS.contains(&flag),
                "{flag}"
            );
        }
    }
    assert!(DOCKERFILE.contains("ENTRYPOINT [\"tidegate\"]\nCMD [\"serve\"]\n"));
}

#[test]
fn every_path_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let copied = DOCKERFILE
        .lines()
        .filter_map(|line| line.strip_prefix("COPY "))
        .filter(|line| !line.starts_with("--from"));
    for line in copied {
        let sources: Vec<_> = line.split_whitespace().collect();
        for source in &sources[..sources.len() - 1] {
            assert!(root.join(source).exists(), "{source}");
        }
    }
    let field = |name: &str| {
        COMPOSE
            .lines()
            .find_map(|line| line.trim().strip_prefix(name))
    };
    let context = root.join("docker").join(field("context: ").unwrap());
    assert!(context.join("Cargo.toml").exists());
    assert!(context.join(field("dockerfile: ").unwrap()).exists());
}

#[test]
fn the_image_is_built_with_the_oldest_compiler_that_the_crate_allows() {
    let version = concat!("rust:", env!("CARGO_PKG_RUST_VERSION"), "-");
    assert!(DOCKERFILE.contains(version), "{version}");
}

/// The health check asks for a path that the service has, and the ports are the ones it listens on.
#[test]
fn ports_agree() {
    assert!(DOCKERFILE.contains("TIDEGATE_LISTEN=0.0.0.0:8080"));
    assert!(DOCKERFILE.contains("\nEXPOSE 8080\n"));
    for port in ["127.0.0.1:8081:8080", "127.0.0.1:8082:8080"] {
        assert!(COMPOSE.contains(port), "{port}");
    }
}
