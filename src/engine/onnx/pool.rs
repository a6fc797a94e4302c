//! The models of this process: loaded once, on first use, within a limit; the least recently used goes first.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::super::host::Host;
use super::super::registry::{Assurance, ModelFiles, Recipe, check_graph};
use super::super::text::board::ModelKey;
use super::super::text::{Embedded, TextError, TextModel, Tokenizer};
use super::super::{Error, Result};
use super::cpu;
use super::runtime::Runtime;
use super::session::{OnnxEncoder, SessionPlan};

/// Everything a loaded model depends on. Another request is another model.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadRequest {
    /// Id of the model.
    pub model_id: String,
    /// Its recipe. Where it differs from the manifest, the recipe holds.
    pub recipe: Recipe,
    /// The ONNX Runtime library.
    pub library: PathBuf,
    /// Directory that holds the directories of models.
    pub root: PathBuf,
    /// Threads of one run.
    pub threads: usize,
    /// Most bytes of all loaded models together, by the sizes of their files.
    pub memory_limit: u64,
}

/// What a model did since it was loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Texts embedded.
    pub texts: u64,
    /// Tokens read, special ones included.
    pub tokens: u64,
    /// Time spent.
    pub time: Duration,
}

/// A model in memory.
pub struct Loaded {
    request: LoadRequest,
    model: TextModel,
    /// Size of its files, in bytes; most of it is mapped and shared between processes.
    pub bytes: u64,
    /// Whether the form packed for this CPU is in use.
    pub packed: bool,
    /// Whether the plain form is in use because CPU or runtime are not those the graph was packed for.
    pub fallback: bool,
    /// Files whose digest was computed because no seal vouched for them.
    pub files_read: usize,
    /// Time it took to load.
    pub load_time: Duration,
    /// What it did so far.
    pub usage: Usage,
    last_used: u64,
}

impl Loaded {
    /// Its id.
    pub fn model_id(&self) -> &str {
        &self.request.model_id
    }

    /// Its tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        self.model.tokenizer()
    }

    /// Runs the model on its tokenizer's largest token: a tokenizer of another vocabulary is found here.
    ///
    /// # Errors
    /// [`TextError::Tokenizer`] and those of [`TextModel::embed`].
    pub fn probe(&mut self, host: &dyn Host) -> Result<()> {
        self.model.probe(host)
    }

    /// One vector for each text; see [`TextModel::embed`].
    ///
    /// # Errors
    /// Those of [`TextModel::embed`].
    pub fn embed(&mut self, texts: &[&str], batch_tokens: usize, host: &dyn Host) -> Result<Vec<Embedded>> {
        let started = Instant::now();
        let embedded = self.model.embed(texts, batch_tokens, host)?;
        self.usage.time += started.elapsed();
        self.usage.texts += embedded.len() as u64;
        self.usage.tokens += embedded.iter().map(|text| text.tokens as u64).sum::<u64>();
        Ok(embedded)
    }
}

/// The models of one process, or one test.
#[derive(Default)]
pub struct ModelPool {
    models: Vec<Loaded>,
    /// Loads that failed: tried again only when something they depend on changes.
    failures: Vec<(LoadRequest, Error)>,
    uses: u64,
}

impl ModelPool {
    /// The model of `request`, loaded if it is not.
    ///
    /// # Errors
    /// What is wrong with library, files, graph or tokenizer; a second time without looking again.
    pub fn get(&mut self, request: &LoadRequest, host: &dyn Host) -> Result<&mut Loaded> {
        self.uses += 1;
        if let Some((_, error)) = self.failures.iter().find(|(failed, _)| failed == request) {
            return Err(error.clone());
        }
        // A model of that id with other settings is of no more use.
        self.models.retain(|loaded| loaded.model_id() != request.model_id || loaded.request == *request);
        let at = match self.models.iter().position(|loaded| loaded.request == *request) {
            Some(at) => at,
            None => {
                let loaded = self.load(request, host).inspect_err(|error| {
                    if *error != TextError::Interrupted.into() {
                        self.failures.push((request.clone(), error.clone()));
                    }
                })?;
                self.models.push(loaded);
                self.models.len() - 1
            }
        };
        let loaded = self.models.get_mut(at).ok_or(TextError::Interrupted)?;
        loaded.last_used = self.uses;
        Ok(loaded)
    }

    /// Whether the model of `request` is loaded, or is known to fail.
    pub fn knows(&self, request: &LoadRequest) -> bool {
        self.models.iter().any(|loaded| loaded.request == *request)
            || self.failures.iter().any(|(failed, _)| failed == request)
    }

    /// The models in memory.
    pub fn loaded(&self) -> &[Loaded] {
        &self.models
    }

    /// Drops every model and forgets every failure. Answers the number of models dropped.
    pub fn unload(&mut self) -> usize {
        self.failures.clear();
        std::mem::take(&mut self.models).len()
    }

    fn load(&mut self, request: &LoadRequest, host: &dyn Host) -> Result<Loaded> {
        let started = Instant::now();
        let (recipe, model_id) = (&request.recipe, &request.model_id);
        let spec = recipe.spec(model_id);
        let files = ModelFiles::open(&request.root, &recipe.directory, model_id)?;
        recipe.check(&files, model_id)?;
        self.make_room(files.manifest.bytes(), request)?;
        let runtime = Runtime::load(&request.library, host)?;
        let files_read = files.verify(Assurance::Seal, host)?;
        let (graph, packed) = choose(&files, &runtime);
        check_graph(&files, &graph, model_id, recipe.allow_dynamic_quantisation)?;
        let json = files.read(&files.manifest.tokenizer)?;
        let tokenizer = Tokenizer::from_json(&json, model_id, spec.max_tokens)?;
        drop(json);
        let plan = SessionPlan { threads: request.threads, optimised: files.manifest.built.is_some() };
        let encoder = OnnxEncoder::load(&runtime, &files.path(&graph), &spec, plan, host)?;
        let key = key(request, &files, &graph, runtime.build());
        Ok(Loaded {
            request: request.clone(),
            model: TextModel::new(spec, key, tokenizer, Box::new(encoder)),
            bytes: files.manifest.bytes(),
            packed,
            fallback: !packed && files.manifest.built.is_some(),
            files_read,
            load_time: started.elapsed(),
            usage: Usage::default(),
            last_used: self.uses,
        })
    }

    /// Drops the least recently used models until `bytes` more are within the limit.
    fn make_room(&mut self, bytes: u64, request: &LoadRequest) -> Result<()> {
        let limit = request.memory_limit;
        if bytes > limit {
            return Err(TextError::ModelTooLarge { model: request.model_id.clone(), bytes, limit }.into());
        }
        while self.models.iter().map(|loaded| loaded.bytes).sum::<u64>() + bytes > limit {
            let oldest = self.models.iter().enumerate().min_by_key(|(_, loaded)| loaded.last_used);
            match oldest.map(|(at, _)| at) {
                Some(at) => drop(self.models.swap_remove(at)),
                None => break,
            }
        }
        Ok(())
    }
}

/// A digest of all that a vector depends on: recipe, content of the files, form of the graph, runtime.
fn key(request: &LoadRequest, files: &ModelFiles, graph: &str, runtime: &str) -> ModelKey {
    // The manifest holds a digest of every file, and those were compared.
    let all = format!("{:?} {:?} {graph} {runtime} {}", request.recipe, files.manifest, request.threads);
    let digest = Sha256::digest(all.as_bytes());
    let mut key = ModelKey::default();
    key.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
    key
}

/// The graph as the manifest gives it, or its plain form where CPU or runtime are not those it was packed for;
/// and whether it is the packed one.
fn choose(files: &ModelFiles, runtime: &Runtime) -> (String, bool) {
    let manifest = &files.manifest;
    let fits = manifest
        .built
        .as_ref()
        .is_none_or(|built| built.runtime == runtime.build() && built.cpu == cpu::kind());
    match &manifest.plain_graph {
        Some(plain) if !fits => (plain.clone(), false),
        _ => (manifest.graph.clone(), manifest.built.is_some()),
    }
}
