//! The text models of this session: the catalog's recipe and the settings make a request, the engine's pool
//! loads what is asked for, once.

use std::cell::RefCell;
use std::mem::ManuallyDrop;

use crate::engine::onnx::{LoadRequest, Loaded, ModelPool};
use crate::engine::registry::Recipe;
use crate::pg::ffi::host::{self, Backend};
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
    with_pool(|pool| work(load(pool, request)?))
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
