//! The backfill of profile texts: documents in pages, vectors for those that are new or changed, written by
//! one `INSERT ... SELECT` per page.

use std::collections::HashMap;

use crate::engine::onnx::LoadRequest;
use crate::engine::partition::Part;
use crate::engine::text::{Embedded, TextError};
use crate::engine::{Day, Error};
use crate::pg::ffi::host::{Backend, BatchMemory};
use crate::pg::ffi::scratch::scratch;
use crate::pg::ffi::staged::{Cells, RowSource};
use crate::pg::report::Fault;
use crate::pg::settings;
use crate::pg::spi::profiles::{self, Document, Key, Wanted};
use crate::pg::spi::relation::Relation;
use crate::pg::spi::text_rows::{Stored, TextTarget};
use crate::pg::text;

/// What to do with a profile that has a vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnExisting {
    /// Compute it anew if document or model changed.
    Update,
    /// Compute it anew.
    Replace,
    /// Leave it.
    Skip,
}

impl OnExisting {
    /// Reads the argument `on_existing`. Errors: [`Fault::InvalidChoice`] (22023).
    pub fn parse(value: &str) -> Result<Self, Fault> {
        match value {
            "update" => Ok(Self::Update),
            "replace" => Ok(Self::Replace),
            "skip" => Ok(Self::Skip),
            other => Err(Fault::InvalidChoice {
                argument: "on_existing",
                value: other.to_owned(),
                allowed: "\"update\", \"replace\" and \"skip\"",
            }),
        }
    }
}

/// What became of one profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Issuer.
    pub issuer_id: String,
    /// Date.
    pub day: Day,
    /// `inserted`, `replaced`, `unchanged`, `skipped` or `failed`.
    pub status: &'static str,
    /// Tokens that the model read.
    pub tokens: Option<i32>,
    /// Whether the document was longer than the model reads.
    pub truncated: Option<bool>,
    /// The reason of what was skipped or failed.
    pub detail: Option<String>,
}

/// Everything one call needs to know.
pub struct TextBackfill<'a> {
    /// The model, as it is loaded when the first vector is needed.
    pub request: &'a LoadRequest,
    /// Where profiles are.
    pub profiles: &'a Relation,
    /// Where vectors go.
    pub target: &'a TextTarget,
    /// What to do with profiles that have a vector.
    pub on_existing: OnExisting,
}

/// A vector on its way into the table.
struct NewRow {
    entry: usize,
    source_id: String,
    digest: [u8; 16],
    document: String,
    embedded: Option<Embedded>,
}

impl TextBackfill<'_> {
    /// Embeds the profiles that are wanted and belong to `part` by their source id; one entry per profile.
    ///
    /// Errors: whatever loading the model, reading and writing raise; then nothing is written. A single
    /// profile that cannot be embedded is an entry, not an error.
    pub fn run(&self, wanted: &Wanted<'_>, part: Part) -> Result<Vec<Entry>, Fault> {
        let mut keys = profiles::keys(self.profiles, wanted)?;
        if part != Part::WHOLE {
            keys.retain(|key| part.has(&source_id(key)));
        }
        if !self.target.unique() {
            self.target.lock()?;
        }
        let mut entries = Vec::with_capacity(keys.len());
        for page in profiles::pages(&keys) {
            scratch(|| self.run_page(&keys[page], &mut entries))?;
        }
        Ok(entries)
    }

    fn run_page(&self, keys: &[Key], entries: &mut Vec<Entry>) -> Result<(), Fault> {
        let mut documents: HashMap<(String, Day), Document> = profiles::documents(self.profiles, keys)?
            .into_iter()
            .map(|(id, day, doc)| ((id, day), doc))
            .collect();
        let ids: Vec<String> = keys.iter().map(source_id).collect();
        let existing = self.target.existing(&ids)?;
        let mut rows = Vec::new();
        for (key, source_id) in keys.iter().zip(ids) {
            let document = documents.remove(&(key.issuer_id.clone(), key.day));
            let document = document.unwrap_or(Err("the profile is gone"));
            let entry =
                self.plan(key, &source_id, document, existing.get(&source_id), entries.len(), &mut rows)?;
            entries.push(entry);
        }
        self.embed(&mut rows, entries)?;
        if !self.target.unique() {
            let there: Vec<String> =
                rows.iter().map(|row| row.source_id.clone()).filter(|id| existing.contains_key(id)).collect();
            self.target.delete(&there)?;
        }
        if !rows.is_empty() {
            self.target.insert(&mut Rows { rows: &rows, next: 0 })?;
        }
        Ok(())
    }

    /// Decides about one profile; what needs a vector is added to `rows`.
    fn plan(
        &self,
        key: &Key,
        source_id: &str,
        document: Document,
        stored: Option<&Stored>,
        at: usize,
        rows: &mut Vec<NewRow>,
    ) -> Result<Entry, Fault> {
        let entry = |status, detail: Option<String>| Entry {
            issuer_id: key.issuer_id.clone(),
            day: key.day,
            status,
            tokens: None,
            truncated: None,
            detail,
        };
        if key.rows > 1 {
            return Ok(entry("failed", Some(format!("{} profiles of this issuer and date", key.rows))));
        }
        let document = match document {
            Ok(document) => document,
            Err(reason) => return Ok(entry("skipped", Some(reason.to_owned()))),
        };
        if let Some(longest) = self.target.longest_id().filter(|&longest| source_id.chars().count() > longest)
        {
            return Ok(entry("failed", Some(format!("source_id would be longer than {longest} characters"))));
        }
        let digest = self.request.recipe.input_digest(&self.request.model_id, &document)?;
        match stored {
            Some(_) if self.on_existing == OnExisting::Skip => {
                return Ok(entry("skipped", Some("row exists".to_owned())));
            }
            Some(stored) if self.on_existing == OnExisting::Update && stored.digest == Some(digest) => {
                let (tokens, truncated) = (stored.tokens, stored.truncated);
                return Ok(Entry { tokens, truncated, ..entry("unchanged", None) });
            }
            _ => {}
        }
        rows.push(NewRow { entry: at, source_id: source_id.to_owned(), digest, document, embedded: None });
        Ok(entry(if stored.is_some() { "replaced" } else { "inserted" }, None))
    }

    /// Computes the vectors of `rows`; a row that cannot have one is taken out and its entry says why.
    fn embed(&self, rows: &mut Vec<NewRow>, entries: &mut [Entry]) -> Result<(), Fault> {
        if rows.is_empty() {
            return Ok(());
        }
        let documents: Vec<&str> = rows.iter().map(|row| row.document.as_str()).collect();
        // Not around what Postgres allocates: that would stay in between.
        let memory = BatchMemory::keep();
        let results = text::with_model(self.request, |model| {
            match model.embed(&documents, settings::batch_tokens(), &Backend) {
                Ok(all) => Ok(all.into_iter().map(Ok).collect()),
                // One text spoils its batch: each for itself shows which.
                Err(Error::Text(TextError::NonFinite { .. } | TextError::Tokenizer { .. })) => {
                    let alone = |text| match model.embed(&[text], settings::batch_tokens(), &Backend) {
                        Ok(mut one) => one.pop().map(Ok).ok_or(Error::Text(TextError::Interrupted)),
                        Err(Error::Text(e @ (TextError::NonFinite { .. } | TextError::Tokenizer { .. }))) => {
                            Ok(Err(e.to_string()))
                        }
                        Err(other) => Err(other),
                    };
                    documents.iter().copied().map(alone).collect::<Result<Vec<_>, Error>>()
                }
                Err(other) => Err(other),
            }
            .map_err(Fault::from)
        })?;
        drop(memory);
        for (row, result) in rows.iter_mut().zip(results) {
            let Some(entry) = entries.get_mut(row.entry) else { continue };
            row.document = String::new();
            match result {
                Ok(embedded) => {
                    entry.tokens = i32::try_from(embedded.tokens).ok();
                    entry.truncated = Some(embedded.truncated);
                    row.embedded = Some(embedded);
                }
                Err(reason) => (entry.status, entry.detail) = ("failed", Some(reason)),
            }
        }
        rows.retain(|row| row.embedded.is_some());
        Ok(())
    }
}

fn source_id(key: &Key) -> String {
    format!("{}:{}", key.issuer_id, key.day)
}

/// The rows of one page, in key order.
struct Rows<'a> {
    rows: &'a [NewRow],
    next: usize,
}

impl RowSource for Rows<'_> {
    fn next_row(&mut self, cells: &mut Cells<'_>) -> Result<bool, Fault> {
        let Some(row) = self.rows.get(self.next) else { return Ok(false) };
        self.next += 1;
        let Some(embedded) = &row.embedded else { return Ok(false) };
        cells.text(0, &row.source_id);
        cells.bytes(1, embedded.vector.len() * 4, |out| {
            for (bytes, value) in out.chunks_exact_mut(4).zip(&embedded.vector) {
                bytes.copy_from_slice(&value.to_le_bytes());
            }
            Ok(())
        })?;
        cells.int(2, i32::try_from(embedded.tokens).unwrap_or(i32::MAX));
        cells.int(3, i32::from(embedded.truncated));
        cells.uuid(4, row.digest);
        Ok(true)
    }
}
