//! One model as a session of the runtime.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use ort::ep::CPU;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::session::{NoSelectedOutputs, RunOptions, Session, SessionInputValue};
use ort::value::{TensorElementType, TensorRef, ValueType};

use super::super::Result;
use super::super::host::{Host, Stop};
use super::super::text::batch::TokenBatch;
use super::super::text::{Encoder, Pooling, TextError, TextSpec};
use super::runtime::{Runtime, file_name};

/// What the graph calls its inputs; the last one is optional.
const INPUTS: [&str; 3] = ["input_ids", "attention_mask", "token_type_ids"];

/// How a session is made.
#[derive(Debug, Clone, Copy)]
pub struct SessionPlan {
    /// Threads of one run, the caller's included.
    pub threads: usize,
    /// Whether the graph is in its final form.
    pub optimised: bool,
}

/// A network run by ONNX Runtime.
pub struct OnnxEncoder {
    session: Session,
    model: String,
    dim: usize,
    inputs: Vec<&'static str>,
    output: String,
    pooled: bool,
}

impl OnnxEncoder {
    /// Loads the graph at `path` and checks that it fits `spec`.
    ///
    /// # Errors
    /// [`TextError::GraphUnreadable`], [`TextError::GraphRefused`].
    pub fn load(
        runtime: &Runtime,
        path: &Path,
        spec: &TextSpec,
        plan: SessionPlan,
        host: &dyn Host,
    ) -> Result<Self> {
        let mut made = Err("the session was not made".to_owned());
        // Threads of the session are born here.
        host.shielded(&mut || made = session(runtime, path, plan).map_err(|e| e.to_string()));
        let (model, file) = (spec.model_id.clone(), file_name(path));
        let directory = path.parent().map(|parent| format!("{}/", parent.display())).unwrap_or_default();
        let session = made.map_err(|e| TextError::GraphUnreadable {
            model: model.clone(),
            file: file.clone(),
            cause: e.replace(&directory, ""),
        })?;
        let refuse = |problem| TextError::GraphRefused { model: model.clone(), file: file.clone(), problem };
        let inputs = inputs(&session).map_err(refuse)?;
        let output = output(&session, spec).map_err(refuse)?;
        let pooled = spec.pooling == Pooling::None;
        Ok(OnnxEncoder { session, model, dim: spec.dim, inputs, output, pooled })
    }
}

fn session(runtime: &Runtime, path: &Path, plan: SessionPlan) -> ort::Result<Session> {
    builder(runtime, plan)?.commit_from_file(path)
}

/// A session to be, as every session of ours is.
pub(super) fn builder(runtime: &Runtime, plan: SessionPlan) -> ort::Result<SessionBuilder> {
    let level = if plan.optimised { GraphOptimizationLevel::Disable } else { GraphOptimizationLevel::All };
    let configure = |builder: SessionBuilder| {
        builder
            .with_optimization_level(level)?
            .with_intra_threads(plan.threads)?
            .with_inter_threads(1)?
            .with_intra_op_spinning(false)?
            // What a batch needs is given back after it: shapes differ from batch to batch.
            .with_memory_pattern(false)?
            .with_execution_providers([CPU::default().with_arena_allocator(false).build()])
    };
    let borrow =
        |builder: SessionBuilder| if runtime.borrows() { builder.with_env_allocators() } else { Ok(builder) };
    let builder = Session::builder(runtime.environment())?;
    configure(builder).and_then(borrow).map_err(ort::Error::<()>::from)
}

/// The inputs of the graph, each one we can feed.
fn inputs(session: &Session) -> std::result::Result<Vec<&'static str>, String> {
    let mut found = Vec::new();
    for input in session.inputs() {
        let known = INPUTS.iter().find(|&&name| name == input.name());
        let known = known.ok_or_else(|| format!("it has an input {:?}", input.name()))?;
        match input.dtype() {
            ValueType::Tensor { ty: TensorElementType::Int64, shape, .. } if shape.len() == 2 => {
                found.push(*known)
            }
            other => return Err(format!("input {known:?} is {other}, not a matrix of int64")),
        }
    }
    match INPUTS.iter().take(2).find(|name| !found.contains(name)) {
        Some(name) => Err(format!("it has no input {name:?}")),
        None => Ok(found),
    }
}

/// The output to read: the one of the usual name, else the first.
fn output(session: &Session, spec: &TextSpec) -> std::result::Result<String, String> {
    let (usual, rank) = match spec.pooling {
        Pooling::None => ("sentence_embedding", 2),
        Pooling::Mean | Pooling::Cls => ("last_hidden_state", 3),
    };
    let outputs = session.outputs();
    let chosen = outputs.iter().find(|output| output.name() == usual).or_else(|| outputs.first());
    let chosen = chosen.ok_or_else(|| "it has no output".to_owned())?;
    match chosen.dtype() {
        ValueType::Tensor { ty: TensorElementType::Float32, shape, .. } if shape.len() == rank => {
            match shape.last() {
                Some(&last) if last >= 0 && usize::try_from(last) != Ok(spec.dim) => Err(format!(
                    "output {:?} has {last} dimensions, the manifest says {}",
                    chosen.name(),
                    spec.dim
                )),
                _ => Ok(chosen.name().to_owned()),
            }
        }
        other => Err(format!("output {:?} is {other}, not float32 of rank {rank}", chosen.name())),
    }
}

/// Ends a run from a signal handler: sets a flag that the runtime reads between the nodes of the graph.
pub(super) struct StopRun<'a> {
    pub(super) options: &'a RunOptions<NoSelectedOutputs>,
    pub(super) stopped: AtomicBool,
}

impl Stop for StopRun<'_> {
    fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
        // Only sets the flag; it has no way to fail that would matter here.
        let _ = self.options.terminate();
    }
}

impl Encoder for OnnxEncoder {
    fn run(&mut self, batch: &TokenBatch, host: &dyn Host, take: &mut dyn FnMut(&[f32])) -> Result<()> {
        let model = self.model.clone();
        let failed = |cause: String| TextError::RunFailed { model: model.clone(), cause };
        let options = RunOptions::new().map_err(|e| failed(e.to_string()))?;
        let stop = StopRun { options: &options, stopped: AtomicBool::new(false) };
        let mut result = Err(String::new());
        host.watched(&stop, &mut || result = self.run_once(batch, &options, take));
        if stop.stopped.load(Ordering::Relaxed) {
            host.checkpoint()?;
            return Err(TextError::Interrupted.into());
        }
        result.map_err(|cause| failed(cause).into())
    }
}

impl OnnxEncoder {
    fn run_once(
        &mut self,
        batch: &TokenBatch,
        options: &RunOptions<NoSelectedOutputs>,
        take: &mut dyn FnMut(&[f32]),
    ) -> std::result::Result<(), String> {
        let shape = [batch.rows, batch.columns];
        let zeros =
            if self.inputs.contains(&"token_type_ids") { vec![0i64; batch.ids.len()] } else { Vec::new() };
        let mut inputs: Vec<(std::borrow::Cow<'_, str>, SessionInputValue<'_>)> = Vec::with_capacity(3);
        for &name in &self.inputs {
            let values = match name {
                "input_ids" => &batch.ids,
                "attention_mask" => &batch.mask,
                _ => &zeros,
            };
            let tensor = TensorRef::from_array_view((shape, values.as_slice())).map_err(|e| e.to_string())?;
            inputs.push((name.into(), tensor.into()));
        }
        let outputs = self.session.run_with_options(inputs, options).map_err(|e| e.to_string())?;
        let output = outputs.get(&self.output).ok_or_else(|| "it gave no output".to_owned())?;
        let (shape, values) = output.try_extract_tensor::<f32>().map_err(|e| e.to_string())?;
        let per_text = if self.pooled { self.dim } else { batch.columns * self.dim };
        if values.len() != batch.rows * per_text {
            return Err(format!(
                "it gave {shape} values for {} texts of {} tokens",
                batch.rows, batch.columns
            ));
        }
        take(values);
        Ok(())
    }
}
