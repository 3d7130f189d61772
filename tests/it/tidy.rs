//! Checks of the tree itself: what a reader would trip over, and what the architecture forbids.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

/// Every Rust file of the workspace, with its text.
fn sources() -> Vec<(PathBuf, String)> {
    let mut folders: Vec<PathBuf> = ["lib", "cli", "functions", "tests"].iter().map(|name| root().join(name)).collect();
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("a source");
                sources.push((path.strip_prefix(root()).expect("within").to_owned(), text));
            }
        }
    }
    sources
}

/// Lines of code before the tests: neither blank nor comment.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .take_while(|line| !line.starts_with("#[cfg(test)]\nmod tests {") && *line != "mod tests {")
        .filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with("//"))
}

fn is_test(path: &Path) -> bool {
    let within = |folder: &str| path.components().any(|part| part.as_os_str() == folder);
    within("tests") || path.ends_with("tests.rs") || path.ends_with("testkit.rs")
}

#[test]
fn no_file_is_longer_than_450_lines_of_code_and_no_functions_main_longer_than_60() {
    for (path, text) in sources() {
        let lines = code(&text).count();
        let most = if path.starts_with("functions") && path.ends_with("main.rs") { 60 } else { 450 };
        let test = is_test(&path) || path.ends_with("contract.rs");
        assert!(test || lines <= most, "{}: {lines} lines of code, at most {most}", path.display());
    }
}

#[test]
fn every_module_opens_by_saying_what_it_is_for() {
    let silent: Vec<_> =
        sources().into_iter().filter(|(_, text)| !text.starts_with("//!")).map(|(path, _)| path).collect();
    assert!(silent.is_empty(), "{silent:?} do not open with //!");
}

#[test]
fn nothing_is_allowed_ignored_slept_through_or_left_to_do() {
    let (allow, ignore) = (["#[", "allow("].concat(), ["#[", "ignore"].concat());
    let (sleep, todo) = (["thread::", "sleep("].concat(), ["TO", "DO"].concat());
    for (path, text) in sources() {
        for word in [&allow, &ignore, &sleep, &todo] {
            assert!(!text.contains(word.as_str()), "{}: {word}", path.display());
        }
    }
}

#[test]
fn error_statuses_are_picked_in_refusal_alone() {
    // Statuses of success and of redirects, and those that retries and transforms compare with.
    let elsewhere = ["cors.rs", "retry.rs", "respond.rs", "responses.rs", "hygiene.rs"];
    for (path, text) in sources() {
        if !path.starts_with("lib/gateway") || is_test(&path) || path.ends_with("refusal.rs") {
            continue;
        }
        if elsewhere.iter().any(|name| path.ends_with(name)) {
            continue;
        }
        for line in code(&text).filter(|line| line.contains("StatusCode::")) {
            let harmless = ["StatusCode::OK", "NO_CONTENT", "NOT_MODIFIED", "RESET_CONTENT", "from_u16"];
            assert!(harmless.iter().any(|word| line.contains(word)), "{}: {line}", path.display());
        }
    }
}

#[test]
fn no_file_names_a_place_of_one_machine() {
    let (home, work) = (["/ro", "ot/"].concat(), ["/wo", "rk/"].concat());
    let tracked = Command::new("git").args(["ls-files"]).current_dir(root()).output().expect("git");
    for name in String::from_utf8_lossy(&tracked.stdout).lines() {
        let Ok(text) = fs::read_to_string(root().join(name)) else { continue };
        assert!(!text.contains(&home) && !text.contains(&work), "{name}");
    }
}

/// Names and versions of all that a package is built of; with what its tests are built of where `edges` says so.
fn tree(package: &str, edges: &str) -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--prefix", "none", "--format", "{p}", "-p", package, "-e", edges])
        .current_dir(root())
        .output()
        .expect("cargo tree");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let mut words = line.split(' ');
        if let (Some(name), Some(version)) = (words.next(), words.next()) {
            found.entry(name.to_owned()).or_default().insert(version.to_owned());
        }
    }
    found
}

#[test]
fn the_core_knows_no_aws_no_http_client_and_no_lambda() {
    let found = tree("tollgate", "normal");
    assert!(found.contains_key("http") && found.contains_key("cel"), "the tree was read");
    for name in found.keys() {
        let foreign = name.starts_with("aws-") && name != "aws-lc-rs" && name != "aws-lc-sys";
        let named =
            ["reqwest", "hyper", "hyper-util", "h2", "rustls", "lambda_http", "lambda_runtime", "ureq", "isahc"];
        assert!(
            !foreign && !named.contains(&name.as_str()) && !name.starts_with("lambda"),
            "the core depends on {name}"
        );
    }
}

#[test]
fn one_crypto_provider_one_rustls_one_hyper_and_one_http_are_built() {
    for package in ["gateway", "tollgate-cli", "tests"] {
        let found = tree(package, "normal,build,dev");
        assert!(found.contains_key("aws-lc-rs"), "{package}: the tree was read");
        for foreign in ["ring", "openssl", "openssl-sys", "native-tls", "rsa", "p256", "ed25519-dalek"] {
            assert!(!found.contains_key(foreign), "{package} builds {foreign}");
        }
        for single in ["rustls", "hyper", "http", "h2", "tokio", "aws-lc-rs"] {
            assert!(
                found.get(single).is_none_or(|versions| versions.len() == 1),
                "{package}: {single} {:?}",
                found[single]
            );
        }
    }
}

#[test]
fn the_files_and_commands_that_the_readme_names_exist() {
    let readme = fs::read_to_string(root().join("README.md")).expect("the README");
    for link in readme.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
        assert!(link.contains("://") || root().join(link).exists(), "README.md names {link}");
    }
    let mut commands = 0;
    for words in readme.lines().chain(readme.split('`')).map(|line| line.split_whitespace().collect::<Vec<_>>()) {
        let (command, rest) = match words.as_slice() {
            ["cargo", "run", "-q", "--", command, rest @ ..] | ["cargo", "run", "--", command, rest @ ..] => {
                (*command, rest)
            }
            [command, ..] if command.starts_with("./") => {
                assert!(root().join(command).is_file(), "README.md runs {command}");
                continue;
            }
            _ => continue,
        };
        commands += 1;
        assert!(root().join(format!("cli/src/{command}.rs")).is_file(), "README.md runs `tollgate {command}`");
        if let ("invoke", [event, ..]) = (command, rest) {
            assert!(root().join(event).is_file(), "README.md invokes {event}");
        }
    }
    assert!(commands >= 4, "{commands} commands");
    let lines = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md").lines().count();
    assert!(lines <= 80, "ARCHITECTURE.md has {lines} lines, at most 80");
}
