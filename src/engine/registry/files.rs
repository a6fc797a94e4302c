//! The files of a model on disk: found inside the allowed directory, owned by somebody to be trusted, and the
//! same that were registered.

use std::fs::{self, File, Metadata};
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use sha2::{Digest, Sha256};

use super::super::host::Host;
use super::super::text::TextError;
use super::super::{Error, Result};
use super::manifest::{FileEntry, MANIFEST, MAX_MANIFEST_BYTES, Manifest};

/// Written beside the manifest by the installation after it compared every digest: inode, size, owner and
/// time of each file. While these hold, the files are taken for checked.
const SEAL: &str = "manifest.seal";

/// Read at a time while a digest is computed, in bytes.
const CHUNK: usize = 1 << 20;

/// How the content of the files is compared with the manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Assurance {
    /// Every byte is read and its digest compared.
    Digests,
    /// Files that the seal describes exactly are taken for checked; others are read.
    Seal,
}

/// A directory and the name of the model in it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    model: String,
    directory: PathBuf,
}

/// A model directory whose manifest was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelFiles {
    place: Place,
    /// What the directory says about itself.
    pub manifest: Manifest,
}

impl ModelFiles {
    /// Finds `directory`, relative to `root` or absolute, and reads its manifest. Symbolic links are resolved
    /// first: what counts is where they lead. `model` names it in errors.
    ///
    /// # Errors
    /// [`TextError::Directory`], [`TextError::DirectoryOutside`], and what is wrong with the manifest.
    pub fn open(root: &Path, directory: &str, model: &str) -> Result<ModelFiles> {
        let place = Place { model: model.to_owned(), directory: inside(root, directory)? };
        if place.safe_metadata(MANIFEST)?.len() > MAX_MANIFEST_BYTES {
            return Err(
                TextError::Manifest { model: place.model, problem: "it is too long".to_owned() }.into()
            );
        }
        let manifest = Manifest::from_json(&place.read(MANIFEST)?, model)?;
        Ok(ModelFiles { place, manifest })
    }

    /// Compares every file with the manifest. Answers how many had to be read in full.
    ///
    /// # Errors
    /// [`TextError::FileMissing`], [`TextError::FileUnsafe`], [`TextError::FileChanged`], and what `host` says.
    pub fn verify(&self, assurance: Assurance, host: &dyn Host) -> Result<usize> {
        let sealed = if assurance == Assurance::Seal { self.place.seal() } else { Vec::new() };
        let mut read = 0;
        for file in &self.manifest.files {
            let meta = self.place.safe_metadata(&file.name)?;
            if meta.len() != file.bytes {
                let problem = format!("it has {} bytes, the manifest says {}", meta.len(), file.bytes);
                return Err(self.changed(file, problem).into());
            }
            if sealed.contains(&seal_line(&file.name, &meta)) {
                continue;
            }
            read += 1;
            let found = self.place.digest(&file.name, host)?;
            if found != file.sha256 {
                return Err(self.changed(file, format!("its sha256 is {found}")).into());
            }
        }
        Ok(read)
    }

    /// Where a file of the model is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.place.directory.join(name)
    }

    /// The whole content of a small file.
    ///
    /// # Errors
    /// [`TextError::FileMissing`], [`TextError::FileUnreadable`].
    pub fn read(&self, name: &str) -> Result<Vec<u8>> {
        self.place.read(name)
    }

    fn changed(&self, file: &FileEntry, problem: String) -> TextError {
        TextError::FileChanged { model: self.place.model.clone(), file: file.name.clone(), problem }
    }
}

/// Why a path below the directory for models leads nowhere.
enum Astray {
    NoName,
    NoRoot,
    Outside,
    Unreachable(std::io::Error),
}

/// Where `path` is, if that is below `root`, symbolic links resolved.
fn below(root: &Path, path: &str) -> std::result::Result<PathBuf, Astray> {
    if path.trim().is_empty() || path.contains('\0') {
        return Err(Astray::NoName);
    }
    let real_root = fs::canonicalize(root).map_err(|_| Astray::NoRoot)?;
    let wanted = real_root.join(path);
    // A path that leaves the root is refused before the disk is asked, or the answer would tell what exists.
    let climbs = Path::new(path).components().any(|part| part == Component::ParentDir);
    if climbs || !(wanted.starts_with(&real_root) || wanted.starts_with(root)) {
        return Err(Astray::Outside);
    }
    let found = fs::canonicalize(&wanted).map_err(Astray::Unreachable)?;
    if !found.starts_with(&real_root) || found == real_root {
        return Err(Astray::Outside);
    }
    Ok(found)
}

/// Where `directory` is, if that is below `root`.
fn inside(root: &Path, directory: &str) -> Result<PathBuf> {
    let refuse = |problem: String| TextError::Directory { directory: directory.to_owned(), problem };
    below(root, directory).map_err(|astray| {
        let error = match astray {
            Astray::NoName => refuse("it has no name".to_owned()),
            Astray::NoRoot => refuse("the directory for models does not exist".to_owned()),
            Astray::Outside => TextError::DirectoryOutside { directory: directory.to_owned() },
            Astray::Unreachable(error) => refuse(reason(&error)),
        };
        error.into()
    })
}

/// The content of one file below `root`, which only its owner may write, root or ourselves; at most `limit`
/// bytes. `model` names it in errors.
///
/// # Errors
/// [`Error::Projection`] saying what is wrong with the file.
pub fn read_single(root: &Path, file: &str, model: &str, limit: u64) -> Result<Vec<u8>> {
    let (model, told) = (model.to_owned(), file.to_owned());
    let found = below(root, file).map_err(|astray| {
        let cause = match astray {
            Astray::NoName => "it has no name".to_owned(),
            Astray::NoRoot => "the directory for models does not exist".to_owned(),
            Astray::Outside => {
                return Error::Projection(TextError::DirectoryOutside { directory: told.clone() });
            }
            Astray::Unreachable(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Error::Projection(TextError::FileMissing {
                    model: model.clone(),
                    file: told.clone(),
                });
            }
            Astray::Unreachable(error) => reason(&error),
        };
        Error::Projection(TextError::FileUnreadable { model: model.clone(), file: told.clone(), cause })
    })?;
    let directory = found.parent().unwrap_or(root).to_owned();
    let name = found.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let place = Place { model, directory };
    let read = || -> Result<Vec<u8>> {
        let too_large = |bytes| TextError::ModelTooLarge { model: place.model.clone(), bytes, limit };
        let meta = place.safe_metadata(&name)?;
        if meta.len() > limit {
            return Err(too_large(meta.len()).into());
        }
        let file = File::open(place.directory.join(&name)).map_err(|e| place.unreadable(&name, &e))?;
        let mut bytes = Vec::new();
        // It may have grown since.
        file.take(limit + 1).read_to_end(&mut bytes).map_err(|e| place.unreadable(&name, &e))?;
        if bytes.len() as u64 > limit { Err(too_large(bytes.len() as u64).into()) } else { Ok(bytes) }
    };
    read().map_err(|error| match error {
        Error::Text(error) => Error::Projection(error),
        other => other,
    })
}

/// SHA-256 of `bytes`, as lower-case hex.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

impl Place {
    fn read(&self, name: &str) -> Result<Vec<u8>> {
        fs::read(self.directory.join(name)).map_err(|e| self.unreadable(name, &e).into())
    }

    /// Metadata of a regular file that only its owner may write, the owner being root or ourselves.
    fn safe_metadata(&self, name: &str) -> Result<Metadata> {
        let meta = fs::symlink_metadata(self.directory.join(name)).map_err(|e| self.unreadable(name, &e))?;
        let problem = if !meta.is_file() {
            "it is no regular file".to_owned()
        } else if meta.mode() & 0o022 != 0 {
            format!("its mode {:o} lets others write", meta.mode() & 0o7777)
        } else if meta.uid() != 0 && Some(meta.uid()) != own_uid() {
            "it belongs neither to root nor to the user this server runs as".to_owned()
        } else {
            return Ok(meta);
        };
        Err(TextError::FileUnsafe { model: self.model.clone(), file: name.to_owned(), problem }.into())
    }

    fn digest(&self, name: &str, host: &dyn Host) -> Result<String> {
        let mut file = File::open(self.directory.join(name)).map_err(|e| self.unreadable(name, &e))?;
        let mut hash = Sha256::new();
        let mut chunk = vec![0u8; CHUNK];
        loop {
            host.checkpoint()?;
            let got = file.read(&mut chunk).map_err(|e| self.unreadable(name, &e))?;
            if got == 0 {
                return Ok(hex(&hash.finalize()));
            }
            hash.update(chunk.get(..got).unwrap_or_default());
        }
    }

    /// Lines of the seal, if there is one that belongs to this manifest.
    fn seal(&self) -> Vec<String> {
        if !self.safe_metadata(SEAL).is_ok_and(|meta| meta.len() <= MAX_MANIFEST_BYTES) {
            return Vec::new();
        }
        let (Ok(seal), Ok(manifest)) = (self.read(SEAL), self.read(MANIFEST)) else { return Vec::new() };
        let text = String::from_utf8(seal).unwrap_or_default();
        let mut lines = text.lines();
        if lines.next() != Some(hex(&Sha256::digest(&manifest)).as_str()) {
            return Vec::new();
        }
        lines.map(str::to_owned).collect()
    }

    fn unreadable(&self, name: &str, error: &std::io::Error) -> TextError {
        let (model, file) = (self.model.clone(), name.to_owned());
        match error.kind() {
            std::io::ErrorKind::NotFound => TextError::FileMissing { model, file },
            _ => TextError::FileUnreadable { model, file, cause: reason(error) },
        }
    }
}

/// `inode bytes owner seconds.nanoseconds name`, as scripts/seal.sh writes it.
fn seal_line(name: &str, meta: &Metadata) -> String {
    format!("{} {} {} {}.{:09} {name}", meta.ino(), meta.len(), meta.uid(), meta.mtime(), meta.mtime_nsec())
}

/// The user we run as, asked of the system without a call of our own.
fn own_uid() -> Option<u32> {
    fs::metadata("/proc/self").ok().map(|meta| meta.uid())
}

/// What the system said, without the path it may name.
fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "it does not exist".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}

/// Lower-case hex of a digest.
fn hex(bytes: &[u8]) -> String {
    let mut out = Vec::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to memory cannot fail.
        let _ = write!(out, "{byte:02x}");
    }
    String::from_utf8(out).unwrap_or_default()
}
