//! Projections that lie in files of the server: read below the directory for models, and graphs kept as long as
//! the session lasts.

use std::cell::RefCell;
use std::mem::ManuallyDrop;
use std::path::PathBuf;
use std::rc::Rc;

use crate::engine::numeric::pipeline::network::MAX_BYTES;
use crate::engine::numeric::pipeline::{Project, Projection};
use crate::engine::onnx::{GraphSession, Runtime};
use crate::engine::registry::{check_graph_bytes, read_single, sha256_hex};
use crate::engine::text::TextError;
use crate::engine::{Error, Result as EngineResult};
use crate::pg::ffi::host::{Backend, forbid_telemetry};
use crate::pg::report::Fault;
use crate::pg::settings;

/// Graphs that a session keeps.
const KEPT: usize = 4;

/// What a kept graph was read as: directory, file, digest, library.
type Key = (PathBuf, String, String, PathBuf);

thread_local! {
    /// Never dropped, as text models are not.
    static GRAPHS: ManuallyDrop<RefCell<Vec<(Key, Rc<Graph>)>>> = const { ManuallyDrop::new(RefCell::new(Vec::new())) };
}

/// A graph and who runs it.
#[derive(Debug)]
struct Graph {
    session: RefCell<GraphSession>,
    dims: (Option<usize>, Option<usize>),
}

impl Project for Graph {
    fn dim_in(&self) -> Option<usize> {
        self.dims.0
    }

    fn dim_out(&self) -> Option<usize> {
        self.dims.1
    }

    fn project(&self, components: &[f64], out: &mut [f64]) -> EngineResult<()> {
        match self.session.try_borrow_mut() {
            Ok(mut session) => session.run(components, out, &Backend),
            Err(_) => Err(Error::OutOfMemory),
        }
    }
}

/// The bytes of a file below the directory for models.
///
/// Errors: [`Error::Projection`].
pub fn file(file: &str, model_id: &str) -> Result<Vec<u8>, Fault> {
    Ok(read_single(&settings::model_directory(), file, model_id, MAX_BYTES as u64)?)
}

/// The graph that a projection names, with the digest that it names.
///
/// Errors: [`Error::Projection`], also for a file with another digest; those of loading the runtime.
pub fn graph(projection: &Projection, model_id: &str) -> Result<Rc<dyn Project>, Fault> {
    let name = projection.file().unwrap_or_default();
    let key: Key = (
        settings::model_directory(),
        name.to_owned(),
        projection.sha256().unwrap_or_default().to_owned(),
        settings::onnxruntime_library(),
    );
    let find = |kept: &Vec<(Key, Rc<Graph>)>| {
        kept.iter().find(|(other, _)| *other == key).map(|(_, graph)| Rc::clone(graph))
    };
    if let Some(graph) = GRAPHS.with(|kept| kept.try_borrow().ok().and_then(|kept| find(&kept))) {
        return Ok(graph);
    }
    let bytes = file(name, model_id)?;
    let found = sha256_hex(&bytes);
    if found != key.2 {
        let (model, file) = (model_id.to_owned(), name.to_owned());
        let problem = format!("its sha256 is {found}");
        return Err(Error::Projection(TextError::FileChanged { model, file, problem }).into());
    }
    let graph = Rc::new(load(&bytes, name, model_id)?);
    GRAPHS.with(|kept| {
        if let Ok(mut kept) = kept.try_borrow_mut() {
            if kept.len() == KEPT {
                kept.remove(0);
            }
            kept.push((key, Rc::clone(&graph)));
        }
    });
    Ok(graph)
}

fn load(bytes: &[u8], file: &str, model_id: &str) -> Result<Graph, Fault> {
    check_graph_bytes(bytes, file, model_id).map_err(Error::Projection)?;
    forbid_telemetry();
    let runtime = Runtime::load(&settings::onnxruntime_library(), &Backend)?;
    let session = GraphSession::load(&runtime, bytes, file, model_id, &Backend)?;
    let dims = (session.dim_in(), session.dim_out());
    Ok(Graph { session: RefCell::new(session), dims })
}
