//! The text models of this session: the catalog's recipe and the settings make a request, the engine's pool
//! loads what is asked for, once.

use std::cell::RefCell;
use std::mem::ManuallyDrop;

use crate::engine::onnx::{LoadRequest, Loaded, ModelPool};
use crate::engine::registry::Recipe;
use crate::pg::ffi::connect;
use crate::pg::ffi::host::{self, Backend};
use crate::pg::ffi::wait::ModelLoad;
use crate::pg::report::Fault;
use crate::pg::settings;
use crate::pg::spi::models;

thread_local! {
    /// Never dropped: a process that ends has nothing to gain from taking sessions apart.
    static POOL: ManuallyDrop<RefCell<ModelPool>> = ManuallyDrop::new(RefCell::new(ModelPool::default()));
}

/// The recipe of a registered text model. Errors: as [`models::spec_json`].
pub fn recipe(model_id: &str) -> Result<Recipe, Fault> {
    Ok(Recipe::from_json(&models::spec_json(model_id, "text")?)?)
}

/// What loading a model depends on, as the settings stand.
pub fn request(model_id: &str, recipe: Recipe) -> LoadRequest {
    LoadRequest {
        model_id: model_id.to_owned(),
        recipe,
        library: settings::onnxruntime_library(),
        root: settings::model_directory(),
        threads: settings::intra_op_threads(),
        memory_limit: settings::model_memory_limit(),
    }
}

/// Lets `work` use the model of `request`, loaded if it is not.
///
/// Errors: what is wrong with library, files or model, and those of `work`.
pub fn with_model<T>(
    request: &LoadRequest,
    work: impl FnOnce(&mut Loaded) -> Result<T, Fault>,
) -> Result<T, Fault> {
    let mut note = None;
    let done = with_pool(|pool| {
        let new = !pool.knows(request);
        let loaded = load(pool, request)?;
        note = new.then(|| LoadNote::of(loaded));
        work(loaded)
    });
    // A message can end the statement: not before the pool is free again.
    if let Some(note) = note {
        note.log();
    }
    done
}

/// What the log says of a load.
struct LoadNote {
    text: String,
    /// Whether the installation is not as it should be.
    odd: bool,
}

impl LoadNote {
    fn of(loaded: &Loaded) -> Self {
        let mut text = format!(
            "loaded text model \"{}\" in {} ms, {} MB of files",
            loaded.model_id(),
            loaded.load_time.as_millis(),
            loaded.bytes >> 20
        );
        if loaded.fallback {
            text += "; its graph is packed for another CPU or runtime, so this session holds a packed copy of its own";
        }
        if loaded.files_read > 0 {
            text +=
                &format!("; {} files were read in full because no seal vouches for them", loaded.files_read);
        }
        Self { text, odd: loaded.fallback || loaded.files_read > 0 }
    }

    fn log(&self) {
        if self.odd {
            pgrx::log!("{}", self.text);
        } else {
            pgrx::debug1!("{}", self.text);
        }
    }
}

/// Loads the models of `prometheus_embed.preload_models` while the session starts. What goes wrong is logged; it
/// must not keep anybody from connecting.
pub fn warm_up() {
    for model_id in settings::preload_models() {
        let loaded = connect::attempt(|| with_registered(&model_id, |_| Ok(())));
        let problem = match loaded {
            Ok(Ok(())) => continue,
            // A database without the extension, or without that model, has nothing to warm up.
            Ok(Err(Fault::NotInstalled)) => return,
            Ok(Err(fault)) => fault.to_string(),
            Err(message) => message,
        };
        pgrx::log!("could not preload text model \"{model_id}\": {problem}");
    }
}

/// As [`with_model`] for a registered model, by its id.
pub fn with_registered<T>(
    model_id: &str,
    work: impl FnOnce(&mut Loaded) -> Result<T, Fault>,
) -> Result<T, Fault> {
    with_model(&request(model_id, recipe(model_id)?), work)
}

/// Loads into `pool`, in this process.
pub fn load<'p>(pool: &'p mut ModelPool, request: &LoadRequest) -> Result<&'p mut Loaded, Fault> {
    host::forbid_telemetry();
    let _wait = (!pool.knows(request)).then(ModelLoad::begin);
    Ok(pool.get(request, &Backend)?)
}

/// Lets `work` look at what is loaded.
pub fn with_pool<T>(work: impl FnOnce(&mut ModelPool) -> Result<T, Fault>) -> Result<T, Fault> {
    POOL.with(|pool| {
        let mut pool = pool.try_borrow_mut().map_err(|_| Fault::Internal {
            what: "a text model is used while another call uses it".to_owned(),
        })?;
        work(&mut pool)
    })
}
