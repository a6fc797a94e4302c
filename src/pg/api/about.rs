//! What is installed, and whether it fits together.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::engine::onnx::{check_runtime, cpu_kind, loaded_build};
use crate::engine::registry::ModelFiles;
use crate::engine::text::batching::Meeting;
use crate::engine::text::board::Tally;
use crate::pg::ffi::meeting::SharedBoard;
use crate::pg::report::Fault;
use crate::pg::spi::models;
use crate::pg::{settings, text};

/// Version of the loaded library.
#[pg_extern(immutable, strict, parallel_safe)]
pub fn embed_version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

type Line = (String, Option<String>, Option<String>);

/// What the library knows of itself, of ONNX Runtime, and of the files of the text models, without loading any.
#[pg_extern(volatile, parallel_restricted, cost = 100000)]
pub fn embed_library_status() -> Result<
    TableIterator<
        'static,
        (name!(item, String), name!(value, Option<String>), name!(warning, Option<String>)),
    >,
    ErrorReport,
> {
    let line = |item: &str, value: String| (item.to_owned(), Some(value), None);
    let mut lines = vec![
        line("library_version", embed_version().to_owned()),
        line("cpu", cpu_kind()),
        batching(),
        runtime(),
    ];
    for model_id in models::ids("text")? {
        lines.push(text_model(&model_id)?);
    }
    Ok(TableIterator::new(lines))
}

fn batching() -> Line {
    let value = match SharedBoard::get() {
        None => "off: the server has no shared memory for it".to_owned(),
        Some(board) => board.locked(|board| {
            let (running, waiting, limit) = board.now();
            let Tally { runs, texts, most } = board.tally();
            format!(
                "at most {limit} runs at once; {running} running, {waiting} waiting; {texts} texts in {runs} runs, at most {most} in one"
            )
        }),
    };
    ("dynamic_batching".to_owned(), Some(value), None)
}

fn runtime() -> Line {
    let path = settings::onnxruntime_library();
    let file = path.file_name().map(|name| name.to_string_lossy().into_owned());
    let value = loaded_build().map(str::to_owned).or(file);
    ("onnxruntime".to_owned(), value, check_runtime(&path).err().map(|error| error.to_string()))
}

fn text_model(model_id: &str) -> Result<Line, Fault> {
    let item = format!("text_model {model_id}");
    let recipe = text::recipe(model_id)?;
    let found = ModelFiles::open(&settings::model_directory(), &recipe.directory, model_id);
    let files = match found.and_then(|files| recipe.check(&files, model_id).map(|()| files)) {
        Ok(files) => files,
        Err(error) => return Ok((item, None, Some(error.to_string()))),
    };
    let manifest = &files.manifest;
    let built = manifest.built.as_ref();
    let graph = manifest.file(&manifest.graph).map(|file| file.sha256.as_str());
    let digest = match built.and_then(|built| built.weights_sha256.as_deref()) {
        Some(weights) => format!("weights sha256 {weights}"),
        None => format!("graph sha256 {}", graph.unwrap_or_default()),
    };
    let misfit = built.filter(|built| built.cpu != cpu_kind()).map(|built| {
        format!(
            "packed for another CPU ({}): each session that uses it holds a packed copy of its own",
            built.cpu
        )
    });
    Ok((item, Some(digest), misfit))
}
