//! A graph that turns the components of a window into a vector, as a session of the runtime.

use std::sync::atomic::{AtomicBool, Ordering};

use ort::session::{NoSelectedOutputs, RunOptions, Session};
use ort::value::{Outlet, TensorElementType, TensorRef, ValueType};

use super::super::host::Host;
use super::super::text::TextError;
use super::super::{Error, Result};
use super::runtime::Runtime;
use super::session::{SessionPlan, StopRun, builder};

/// A graph with one float32 input of shape `[1, components]` and a float32 output of shape `[1, dim]`.
pub struct GraphSession {
    session: Session,
    model: String,
    input: String,
    output: String,
    dim_in: Option<usize>,
    dim_out: Option<usize>,
}

impl std::fmt::Debug for GraphSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GraphSession").field("model", &self.model).finish_non_exhaustive()
    }
}

impl GraphSession {
    /// Loads a graph from memory. `file` and `model` name it in errors; it must have been checked with
    /// [`super::super::registry::check_graph_bytes`].
    ///
    /// # Errors
    /// [`Error::Projection`] with [`TextError::GraphUnreadable`] or [`TextError::GraphRefused`].
    pub fn load(runtime: &Runtime, bytes: &[u8], file: &str, model: &str, host: &dyn Host) -> Result<Self> {
        let mut made = Err("the session was not made".to_owned());
        // One thread: a vector is too little work for more.
        let plan = SessionPlan { threads: 1, optimised: false };
        let load = || builder(runtime, plan)?.commit_from_memory(bytes);
        host.shielded(&mut || made = load().map_err(|e| e.to_string()));
        let (model, file) = (model.to_owned(), file.to_owned());
        let session = made.map_err(|cause| {
            Error::Projection(TextError::GraphUnreadable { model: model.clone(), file: file.clone(), cause })
        })?;
        let (input, output) = ends(&session).map_err(|problem| {
            Error::Projection(TextError::GraphRefused { model: model.clone(), file, problem })
        })?;
        let ((input, dim_in), (output, dim_out)) = (input, output);
        Ok(Self { session, model, input, output, dim_in, dim_out })
    }

    /// Components that it takes, if the graph says so.
    pub fn dim_in(&self) -> Option<usize> {
        self.dim_in
    }

    /// Components that it gives, if the graph says so.
    pub fn dim_out(&self) -> Option<usize> {
        self.dim_out
    }

    /// The vector of `components`, into `out`.
    ///
    /// # Errors
    /// [`Error::Projection`] with [`TextError::RunFailed`], [`TextError::NonFinite`] or
    /// [`TextError::Interrupted`].
    pub fn run(&mut self, components: &[f64], out: &mut [f64], host: &dyn Host) -> Result<()> {
        let model = self.model.clone();
        let failed = |cause: String| Error::Projection(TextError::RunFailed { model: model.clone(), cause });
        let options = RunOptions::new().map_err(|e| failed(e.to_string()))?;
        let stop = StopRun { options: &options, stopped: AtomicBool::new(false) };
        let mut result = Err(String::new());
        host.watched(&stop, &mut || result = self.run_once(components, out, &options));
        if stop.stopped.load(Ordering::Relaxed) {
            host.checkpoint()?;
            return Err(Error::Projection(TextError::Interrupted));
        }
        result.map_err(failed)?;
        match out.iter().all(|x| x.is_finite()) {
            true => Ok(()),
            false => Err(Error::Projection(TextError::NonFinite { model: self.model.clone() })),
        }
    }

    fn run_once(
        &mut self,
        components: &[f64],
        out: &mut [f64],
        options: &RunOptions<NoSelectedOutputs>,
    ) -> std::result::Result<(), String> {
        let narrow: Vec<f32> = components.iter().map(|&x| x as f32).collect();
        let tensor = TensorRef::from_array_view(([1, narrow.len()], narrow.as_slice()));
        let inputs = ort::inputs![self.input.as_str() => tensor.map_err(|e| e.to_string())?];
        let outputs = self.session.run_with_options(inputs, options).map_err(|e| e.to_string())?;
        let output = outputs.get(&self.output).ok_or_else(|| "it gave no output".to_owned())?;
        let (shape, values) = output.try_extract_tensor::<f32>().map_err(|e| e.to_string())?;
        if values.len() != out.len() {
            return Err(format!("it gave {shape} values, the vectors have {}", out.len()));
        }
        out.iter_mut().zip(values).for_each(|(slot, &x)| *slot = x.into());
        Ok(())
    }
}

type End = (String, Option<usize>);

/// Names and widths of the only input and the first output.
fn ends(session: &Session) -> std::result::Result<(End, End), String> {
    let [input] = session.inputs() else {
        return Err(format!("it has {} inputs, not one", session.inputs().len()));
    };
    let output = session.outputs().first().ok_or_else(|| "it has no output".to_owned())?;
    Ok((end(input, "input")?, end(output, "output")?))
}

/// Name and width of a float32 matrix.
fn end(outlet: &Outlet, what: &str) -> std::result::Result<End, String> {
    let name = outlet.name();
    match outlet.dtype() {
        ValueType::Tensor { ty: TensorElementType::Float32, shape, .. } if shape.len() == 2 => {
            let rows = shape.first().copied().unwrap_or(-1);
            if rows > 1 {
                return Err(format!("{what} {name:?} has {rows} rows, not one"));
            }
            // A width of -1 is open.
            Ok((name.to_owned(), shape.last().and_then(|&last| usize::try_from(last).ok())))
        }
        other => Err(format!("{what} {name:?} is {other}, not a matrix of float32")),
    }
}
