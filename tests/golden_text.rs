//! The text model against vectors of the Python system, and against files that are not what they should be.
//!
//! Needs the model directory and the runtime that `make model` puts into build/, and for the comparison the
//! folder `../shared` (or `PE_SHARED`); says so and passes where they are missing.
#![cfg(feature = "onnx")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use prometheus_embed::engine::host::Unattended;
use prometheus_embed::engine::onnx::{LoadRequest, ModelPool};
use prometheus_embed::engine::registry::{Assurance, MANIFEST, ModelFiles, Recipe};
use prometheus_embed::engine::text::{Pooling, TextError};
use prometheus_embed::engine::{Error, Result};

const MODEL: &str = "all-MiniLM-L6-v2";

fn checkout() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Models and library; `None` with a word about it where `make model` has not run.
fn artefacts() -> Option<(PathBuf, PathBuf)> {
    let models = checkout().join("build/share/models");
    let library = checkout().join("build/lib/libonnxruntime.so.1.28.0");
    if models.join(MODEL).join(MANIFEST).is_file() && library.is_file() {
        return Some((models, library));
    }
    println!("skipped: no model in build/ (run: make model)");
    None
}

fn request(root: &Path, library: &Path) -> LoadRequest {
    let recipe = Recipe {
        directory: MODEL.into(),
        dim: 384,
        max_tokens: 512,
        pooling: Pooling::Mean,
        normalise: true,
        allow_dynamic_quantisation: false,
        weights_sha256: None,
        files: Vec::new(),
    };
    LoadRequest {
        model_id: "text-profile-v1".into(),
        recipe,
        library: library.to_owned(),
        root: root.to_owned(),
        threads: 1,
        memory_limit: 1 << 30,
    }
}

/// The texts of the oracle with their vectors.
fn oracle() -> Option<Vec<(String, Vec<f32>)>> {
    let shared = std::env::var_os("PE_SHARED").map_or_else(|| checkout().join("../shared"), PathBuf::from);
    let file = shared.join("oracle/text.jsonl.gz");
    if !file.is_file() {
        println!("skipped: no {}", file.display());
        return None;
    }
    let output = std::process::Command::new("gzip").arg("-dc").arg(file).output().unwrap();
    let lines = String::from_utf8(output.stdout).unwrap();
    let read = |line: &str| {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        let vector =
            row["embedding"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect();
        (row["text"].as_str().unwrap().to_owned(), vector)
    };
    Some(lines.lines().map(read).collect())
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn vectors_are_those_of_the_python_system_in_any_batch() {
    let (Some((models, library)), Some(oracle)) = (artefacts(), oracle()) else { return };
    let mut pool = ModelPool::default();
    let model = pool.get(&request(&models, &library), &Unattended).unwrap();
    model.probe(&Unattended).unwrap();
    assert!(model.packed, "the model in build/ was packed on another machine: run make model");
    let texts: Vec<&str> = oracle.iter().map(|(text, _)| text.as_str()).collect();
    let alone = model.embed(&texts, 1, &Unattended).unwrap();
    let together = model.embed(&texts, 8192, &Unattended).unwrap();
    assert_eq!(model.usage.texts, 2 * texts.len() as u64, "a probe does not count");
    for ((text, expected), (alone, together)) in oracle.iter().zip(alone.iter().zip(&together)) {
        let difference = largest_difference(expected, &alone.vector);
        assert!(
            difference <= 1e-5 && cosine(expected, &alone.vector) >= 0.999_999,
            "{difference} {text:.80}"
        );
        assert!(largest_difference(&alone.vector, &together.vector) < 1e-6, "{text:.80}");
        assert!(alone.tokens <= 512 && (!alone.truncated || alone.tokens == 512), "{text:.80}");
    }
    assert!(alone.iter().any(|text| text.truncated));
}

#[test]
fn endless_text_costs_no_more_than_its_first_tokens() {
    let Some((models, library)) = artefacts() else { return };
    let mut pool = ModelPool::default();
    let model = pool.get(&request(&models, &library), &Unattended).unwrap();
    let words = "credit risk of the issuer ".repeat(4_000_000);
    let started = std::time::Instant::now();
    let long = model.embed(&[&words, &words[..20_000]], 512, &Unattended).unwrap();
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
    assert_eq!(long[0].vector, long[1].vector);
    assert!(long[0].truncated && long[0].tokens == 512);
    let word = "x".repeat(1_000_000);
    assert_eq!(model.embed(&[&word], 512, &Unattended).unwrap()[0].tokens, 3);
}

/// A directory for models with a copy of ours in it, removed at the end.
struct Copy {
    root: PathBuf,
}

impl Copy {
    fn new(name: &str, models: &Path) -> Copy {
        let root = std::env::temp_dir().join(format!("pe-golden-{}-{name}", std::process::id()));
        let to = root.join(MODEL);
        fs::create_dir_all(&to).unwrap();
        for file in fs::read_dir(models.join(MODEL)).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), to.join(file.file_name())).unwrap();
        }
        Copy { root }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.root.join(MODEL).join(name)
    }

    /// Makes the manifest agree with the files, as somebody who forges both would.
    fn forge_manifest(&self) {
        let mut value: serde_json::Value =
            serde_json::from_slice(&fs::read(self.file(MANIFEST)).unwrap()).unwrap();
        for file in value["files"].as_array_mut().unwrap() {
            let path = self.file(file["name"].as_str().unwrap());
            let sum = std::process::Command::new("sha256sum").arg(&path).output().unwrap().stdout;
            file["sha256"] = String::from_utf8(sum).unwrap()[..64].into();
            file["bytes"] = fs::metadata(&path).unwrap().len().into();
        }
        fs::write(self.file(MANIFEST), value.to_string()).unwrap();
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

fn text_error<T>(result: Result<T>) -> TextError {
    match result {
        Err(Error::Text(error)) => error,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it worked"),
    }
}

#[test]
fn damaged_files_are_found_and_the_failure_is_remembered() {
    let Some((models, library)) = artefacts() else { return };
    let copy = Copy::new("damage", &models);
    let mut pool = ModelPool::default();
    let request = request(&copy.root, &library);
    let files = ModelFiles::open(&copy.root, MODEL, "m").unwrap();
    assert_eq!(files.verify(Assurance::Digests, &Unattended).unwrap(), files.manifest.files.len());

    let original = fs::read(copy.file("tokenizer.json")).unwrap();
    let mut changed = original.clone();
    changed[1000] ^= 1;
    fs::write(copy.file("tokenizer.json"), &changed).unwrap();
    let error = text_error(pool.get(&request, &Unattended).map(|_| ()));
    assert!(matches!(&error, TextError::FileChanged { file, .. } if file == "tokenizer.json"), "{error}");
    fs::write(copy.file("tokenizer.json"), &original[..original.len() / 2]).unwrap();
    assert!(matches!(text_error(files.verify(Assurance::Seal, &Unattended)), TextError::FileChanged { .. }));

    fs::write(copy.file("tokenizer.json"), &original).unwrap();
    assert_eq!(text_error(pool.get(&request, &Unattended).map(|_| ())), error, "it is remembered");
    pool.unload();
    assert!(pool.get(&request, &Unattended).is_ok(), "and forgotten on demand");

    fs::remove_file(copy.file("model.onnx.data")).unwrap();
    pool.unload();
    assert!(matches!(text_error(pool.get(&request, &Unattended).map(|_| ())), TextError::FileMissing { .. }));
}

#[test]
fn files_that_others_could_change_are_refused() {
    let Some((models, _)) = artefacts() else { return };
    let copy = Copy::new("unsafe", &models);
    let files = ModelFiles::open(&copy.root, MODEL, "m").unwrap();
    let refused =
        || matches!(text_error(files.verify(Assurance::Seal, &Unattended)), TextError::FileUnsafe { .. });
    fs::set_permissions(copy.file("model.onnx"), fs::Permissions::from_mode(0o666)).unwrap();
    assert!(refused());
    fs::remove_file(copy.file("model.onnx")).unwrap();
    symlink("/dev/zero", copy.file("model.onnx")).unwrap();
    assert!(refused());
}

#[test]
fn only_directories_inside_the_root_are_opened() {
    let Some((models, _)) = artefacts() else { return };
    let copy = Copy::new("inside", &models);
    symlink("/etc", copy.root.join("out")).unwrap();
    symlink(copy.root.join(MODEL), copy.root.join("alias")).unwrap();
    let open = |directory: &str| ModelFiles::open(&copy.root, directory, "m");
    for outside in ["../etc", "/etc", "out", "a/../../b", ".", "/", "../", "out/ssl"] {
        assert!(matches!(text_error(open(outside)), TextError::DirectoryOutside { .. }), "{outside}");
    }
    for unusable in ["", " ", "nowhere", "a\0b"] {
        assert!(matches!(text_error(open(unusable)), TextError::Directory { .. }), "{unusable:?}");
    }
    assert!(open("alias").is_ok(), "a link that stays inside is one more name");
    assert!(open(copy.root.join(MODEL).to_str().unwrap()).is_ok());
}

#[test]
fn wrong_libraries_graphs_and_limits_are_clean_errors() {
    let Some((models, library)) = artefacts() else { return };
    let mut pool = ModelPool::default();
    let good = request(&models, &library);
    let mut attempt = |change: &dyn Fn(&mut LoadRequest)| {
        let mut request = good.clone();
        change(&mut request);
        pool.get(&request, &Unattended).map(|_| ())
    };
    let libraries = [
        ("", "NotConfigured"),
        ("relative.so", "Missing"),
        ("/nowhere/x.so", "Missing"),
        ("/etc", "Missing"),
    ];
    for (name, wanted) in libraries {
        let error = text_error(attempt(&|r| r.library = name.into()));
        assert!(format!("{error:?}").starts_with(&format!("Runtime{wanted}")), "{name}: {error:?}");
        assert!(!error.to_string().contains("/etc/"), "{error}");
    }
    assert!(matches!(text_error(attempt(&|r| r.memory_limit = 1000)), TextError::ModelTooLarge { .. }));
    assert!(matches!(text_error(attempt(&|r| r.recipe.dim = 768)), TextError::GraphRefused { .. }));
    assert!(attempt(&|_| ()).is_ok());
    assert!(matches!(
        text_error(attempt(&|r| r.library = "/etc/passwd".into())),
        TextError::RuntimeFixed { .. }
    ));

    let copy = Copy::new("graph", &models);
    let graph = fs::read(copy.file("model.onnx")).unwrap();
    for bytes in [&b"not a graph at all"[..], &graph[..graph.len() / 2], b""] {
        fs::write(copy.file("model.onnx"), bytes).unwrap();
        copy.forge_manifest();
        let error = text_error(attempt(&|r| {
            r.root.clone_from(&copy.root);
            r.memory_limit += bytes.len() as u64;
        }));
        assert!(matches!(&error, TextError::GraphUnreadable { file, .. } if file == "model.onnx"), "{error}");
    }
}
