//! Golden pairs: `testdata/config/bad/NAME.yaml` with the messages it gets, `good/NAME.yaml` with its compiled form,
//! every default filled in. `UPDATE=1` rewrites the goldens; read them before you commit them.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::*;

struct TestDisk(PathBuf);

impl Files for TestDisk {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        fs::read(self.0.join(path)).map_err(|_| "no such file".to_owned())
    }

    fn list(&self, directory: &str) -> Result<Vec<String>, String> {
        let entries = fs::read_dir(self.0.join(directory)).map_err(|_| "no such directory".to_owned())?;
        Ok(entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect())
    }
}

struct OneFile<'a>(&'a str);

impl Files for OneFile<'_> {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        if path == "gateway.yaml" { Ok(self.0.as_bytes().to_vec()) } else { Err("no such file".to_owned()) }
    }

    fn list(&self, _: &str) -> Result<Vec<String>, String> {
        Err("no such directory".to_owned())
    }
}

fn compile_text(text: &str) -> Result<Compiled, Problems> {
    compile("gateway.yaml", Host { files: &OneFile(text), env: &|_| None })
}

fn goldens(kind: &str, show: impl Fn(Result<Compiled, Problems>) -> String) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/config").join(kind);
    let update = std::env::var_os("UPDATE").is_some();
    let mut wrong = Vec::new();
    let mut count = 0;
    for entry in fs::read_dir(&folder).expect("the folder of examples") {
        let name = entry.expect("an entry").file_name().into_string().expect("a plain name");
        let Some(stem) = name.strip_suffix(".yaml") else { continue };
        count += 1;
        let got = show(compile(&name, Host { files: &TestDisk(folder.clone()), env: &|_| None }));
        let golden = folder.join(format!("{stem}.txt"));
        if update {
            fs::write(&golden, &got).expect("the golden is written");
        }
        let expected = fs::read_to_string(&golden).unwrap_or_default();
        if got != expected {
            wrong.push(format!("--- {kind}/{name}: expected\n{expected}\n--- got\n{got}"));
        }
    }
    assert!(count > 0, "no examples in {}", folder.display());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_bad_example_gets_its_messages() {
    goldens("bad", |compiled| match compiled {
        Ok(_) => "compiles, and should not\n".to_owned(),
        Err(problems) => format!("{problems}\n"),
    });
}

#[test]
fn each_good_example_compiles_to_its_form_with_every_default_filled_in() {
    goldens("good", |compiled| match compiled {
        Ok(compiled) if compiled.warnings.list.is_empty() => compiled.routes.print(),
        Ok(compiled) => format!("{}\n{}", compiled.routes.print(), compiled.warnings),
        Err(problems) => format!("does not compile:\n{problems}\n"),
    });
}

#[test]
fn a_secret_that_is_not_there_is_a_warning_and_never_printed() {
    let text = "version: 1\nedge: {secret: {header: x-edge, value: \"env:EDGE\"}}\nroutes:\n  - {name: a, auth: none, match: {path: /}, to: {respond: {}}}\n";
    let compiled = compile_text(text).expect("compiles");
    assert_eq!(compiled.warnings.count(Severity::Warning), 1, "{}", compiled.warnings);
    let known = |name: &str| (name == "EDGE").then(|| "hunter2".to_owned());
    let compiled = compile("gateway.yaml", Host { files: &OneFile(text), env: &known }).expect("compiles");
    let shown = format!("{:?}{}", compiled.routes, compiled.routes.print());
    assert!(!shown.contains("hunter2"));
}

#[test]
fn a_pepper_is_never_printed() {
    let text = "version: 1\nauth: {p: {api_key: {header: x-key, pepper: [\"env:NEW\", \"env:OLD\"]}}}\nroutes:\n  - {name: a, auth: p, match: {path: /}, to: {respond: {}}}\n";
    let known = |_: &str| Some("hunter2 hunter2 hunter2".to_owned());
    let compiled = compile("gateway.yaml", Host { files: &OneFile(text), env: &known }).expect("compiles");
    let shown = format!("{:?}{}", compiled.routes, compiled.routes.print());
    assert!(!shown.contains("hunter2") && shown.contains("env:OLD"));
}

#[test]
fn a_problem_shows_its_line_whatever_ends_lines() {
    for end in ["\n", "\r\n", "\r"] {
        let text = ["version: 1", "name: é", "routes: 7", ""].join(end);
        let problems = compile_text(&text).expect_err("no list");
        assert!(problems.to_string().contains("gateway.yaml:3:9: "), "{end:?}: {problems}");
        assert!(problems.to_string().contains(" 3 | routes: 7\n   |         ^\n"), "{end:?}: {problems}");
    }
}

#[test]
fn five_hundred_routes_compile() {
    use std::fmt::Write as _;
    let mut text = "version: 1\ndefaults: {auth: none}\nroutes:\n".to_owned();
    for n in 0..500 {
        let _ =
            writeln!(text, "  - {{name: r{n}, match: {{path: \"/r{n}/{{id}}\"}}, to: {{respond: {{status: 200}}}}}}");
    }
    let compiled = compile_text(&text).expect("compiles");
    assert_eq!(compiled.routes.routes.len(), 500);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn no_text_makes_compile_panic(text in "\\PC{0,400}") {
        let _ = compile_text(&text);
    }

    #[test]
    fn no_mangled_config_makes_compile_panic(at in 0usize..3000, with in "[ -~\\n]{0,4}") {
        let whole = include_str!("../../testdata/config/good/whole.yaml");
        let at = whole.char_indices().map(|(at, _)| at).nth(at.min(whole.len() - 1)).unwrap_or_default();
        let mangled = format!("{}{with}{}", whole.get(..at).unwrap_or_default(), whole.get(at..).unwrap_or_default());
        if let Err(problems) = compile_text(&mangled) {
            prop_assert!(!problems.list.is_empty());
            let _ = problems.to_string();
        }
    }
}
