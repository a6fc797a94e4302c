//! The corpora of the fuzz targets, replayed: what coverage-guided runs found worth keeping, crashes that were mended
//! among them, and every one of these cut short and with single bits turned.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../fuzz/targets.rs"]
mod targets;

use std::fs;
use std::path::Path;

#[test]
fn corpora_replay() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for (name, target) in targets::TARGETS {
        let mut files: Vec<_> =
            fs::read_dir(corpora.join(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        assert!(!files.is_empty(), "fuzz/corpus/{name} is empty");
        for file in files {
            let data = fs::read(&file).unwrap();
            target(&data);
            for cut in [1, data.len() / 2] {
                target(&data[..data.len().saturating_sub(cut)]);
            }
            for bit in (0..data.len() * 8).step_by(data.len().max(1) / 2 + 7) {
                let mut turned = data.clone();
                turned[bit / 8] ^= 1 << (bit % 8);
                target(&turned);
            }
        }
    }
}
