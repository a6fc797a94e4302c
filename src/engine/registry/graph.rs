//! A look into an ONNX file before a runtime sees it: which operators it uses and which other files it names.
//! Reads the protobuf structure from a stream and skips the weights, so that size costs nothing.

use std::io::{BufReader, Read, Seek, SeekFrom};

use super::super::Result;
use super::super::text::TextError;
use super::files::ModelFiles;

/// Most nodes of a graph; a BERT of 24 layers has about 300 fused, 1,000 plain.
const MAX_NODES: usize = 50_000;
/// Longest string that is read, in bytes.
const MAX_STRING: u64 = 4096;

/// Operators that quantise by what they see at run time: a vector would depend on its batch.
const DYNAMIC_QUANTISATION: [&str; 6] = [
    "DynamicQuantizeLinear",
    "DynamicQuantizeMatMul",
    "DynamicQuantizeLSTM",
    "MatMulIntegerToFloat",
    "MatMulInteger",
    "QAttention",
];
/// Operators that loop or branch: a graph could run for ever.
const CONTROL_FLOW: [&str; 4] = ["Loop", "Scan", "If", "SequenceMap"];
/// Domains whose operators the runtime itself has.
const DOMAINS: [&str; 3] = ["", "ai.onnx", "com.microsoft"];

/// Refuses a graph that could run for ever, load code or files of its own, or whose results depend on the
/// batch, unless `allow_dynamic`. `name` is a file of `files`.
///
/// # Errors
/// [`TextError::GraphRefused`] with the reason, [`TextError::GraphUnreadable`] for what is no ONNX file.
pub fn check_graph(files: &ModelFiles, name: &str, model: &str, allow_dynamic: bool) -> Result<()> {
    let file = std::fs::File::open(files.path(name)).map_err(|e| unreadable(model, name, e.to_string()))?;
    let bytes = file.metadata().map_err(|e| unreadable(model, name, e.to_string()))?.len();
    let mut scan =
        Scan { allow_dynamic, nodes: 0, files: &|location| files.manifest.file(location).is_some() };
    match scan.model(&mut Reader { inner: BufReader::new(file), at: 0 }, bytes) {
        Ok(()) if scan.nodes == 0 => Err(unreadable(model, name, "it holds no graph".to_owned()).into()),
        Ok(()) => Ok(()),
        Err(Fault::Malformed(cause)) => Err(unreadable(model, name, cause).into()),
        Err(Fault::Refused(problem)) => {
            Err(TextError::GraphRefused { model: model.to_owned(), file: name.to_owned(), problem }.into())
        }
    }
}

/// As [`check_graph`], for a graph that lies in memory with all its weights.
///
/// # Errors
/// As [`check_graph`].
pub fn check_graph_bytes(bytes: &[u8], name: &str, model: &str) -> std::result::Result<(), TextError> {
    let mut scan = Scan { allow_dynamic: false, nodes: 0, files: &|_| false };
    let mut reader = Reader { inner: std::io::Cursor::new(bytes), at: 0 };
    match scan.model(&mut reader, bytes.len() as u64) {
        Ok(()) if scan.nodes == 0 => Err(unreadable(model, name, "it holds no graph".to_owned())),
        Ok(()) => Ok(()),
        Err(Fault::Malformed(cause)) => Err(unreadable(model, name, cause)),
        Err(Fault::Refused(problem)) => {
            Err(TextError::GraphRefused { model: model.to_owned(), file: name.to_owned(), problem })
        }
    }
}

fn unreadable(model: &str, name: &str, cause: String) -> TextError {
    TextError::GraphUnreadable { model: model.to_owned(), file: name.to_owned(), cause }
}

enum Fault {
    Malformed(String),
    Refused(String),
}

impl From<std::io::Error> for Fault {
    fn from(_: std::io::Error) -> Fault {
        Fault::Malformed("it ends in the middle".to_owned())
    }
}

/// A protobuf stream with its position.
struct Reader<R> {
    inner: R,
    at: u64,
}

/// One field of a message: its number and, if its value is a length-delimited one, its end.
struct Field {
    number: u64,
    end: Option<u64>,
}

impl<R: Read + Seek> Reader<R> {
    fn varint(&mut self) -> std::result::Result<u64, Fault> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let mut byte = [0u8];
            self.inner.read_exact(&mut byte)?;
            self.at += 1;
            let [byte] = byte;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Fault::Malformed("it holds a number of more than 64 bits".to_owned()))
    }

    /// The next field before `end`; values that are not length-delimited are skipped.
    fn field(&mut self, end: u64) -> std::result::Result<Option<Field>, Fault> {
        if self.at >= end {
            return Ok(None);
        }
        let key = self.varint()?;
        let number = key >> 3;
        let stop = match key & 7 {
            0 => {
                self.varint()?;
                None
            }
            1 => Some(self.at + 8),
            5 => Some(self.at + 4),
            2 => {
                let stop = self.varint()?.checked_add(self.at).filter(|&stop| stop <= end);
                let stop =
                    stop.ok_or_else(|| Fault::Malformed("a part is longer than the whole".to_owned()))?;
                return Ok(Some(Field { number, end: Some(stop) }));
            }
            _ => return Err(Fault::Malformed("it is no ONNX file".to_owned())),
        };
        if let Some(stop) = stop {
            self.skip_to(stop)?;
        }
        Ok(Some(Field { number, end: None }))
    }

    fn skip_to(&mut self, stop: u64) -> std::result::Result<(), Fault> {
        self.inner.seek(SeekFrom::Start(stop))?;
        self.at = stop;
        Ok(())
    }

    fn string(&mut self, stop: u64) -> std::result::Result<String, Fault> {
        let length = stop.saturating_sub(self.at);
        if length > MAX_STRING {
            return Err(Fault::Malformed("it holds a name that is too long".to_owned()));
        }
        let mut bytes = Vec::new();
        (&mut self.inner).take(length).read_to_end(&mut bytes)?;
        self.at = stop;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// The walk. Field numbers are those of onnx.proto.
struct Scan<'a> {
    allow_dynamic: bool,
    nodes: usize,
    files: &'a dyn Fn(&str) -> bool,
}

impl Scan<'_> {
    fn model<R: Read + Seek>(&mut self, reader: &mut Reader<R>, end: u64) -> std::result::Result<(), Fault> {
        while let Some(field) = reader.field(end)? {
            match (field.number, field.end) {
                (7, Some(stop)) => self.graph(reader, stop)?,
                (25, Some(_)) => return Err(Fault::Refused("it defines functions of its own".to_owned())),
                (_, Some(stop)) => reader.skip_to(stop)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn graph<R: Read + Seek>(&mut self, reader: &mut Reader<R>, end: u64) -> std::result::Result<(), Fault> {
        while let Some(field) = reader.field(end)? {
            match (field.number, field.end) {
                (1, Some(stop)) => self.node(reader, stop)?,
                (5, Some(stop)) => self.tensor(reader, stop)?,
                (_, Some(stop)) => reader.skip_to(stop)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn node<R: Read + Seek>(&mut self, reader: &mut Reader<R>, end: u64) -> std::result::Result<(), Fault> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(Fault::Refused(format!("it has more than {MAX_NODES} nodes")));
        }
        let (mut operator, mut domain) = (String::new(), String::new());
        while let Some(field) = reader.field(end)? {
            match (field.number, field.end) {
                (4, Some(stop)) => operator = reader.string(stop)?,
                (7, Some(stop)) => domain = reader.string(stop)?,
                (5, Some(stop)) => self.attribute(reader, stop)?,
                (_, Some(stop)) => reader.skip_to(stop)?,
                _ => {}
            }
        }
        if !DOMAINS.contains(&domain.as_str()) {
            return Err(Fault::Refused(format!("it uses operator {operator} of domain {domain:?}")));
        }
        if CONTROL_FLOW.contains(&operator.as_str()) {
            return Err(Fault::Refused(format!("it uses {operator}, which may run for ever")));
        }
        if !self.allow_dynamic && DYNAMIC_QUANTISATION.contains(&operator.as_str()) {
            return Err(Fault::Refused(format!(
                "it uses {operator}: with dynamic quantisation a vector depends on the texts it is computed with"
            )));
        }
        Ok(())
    }

    fn attribute<R: Read + Seek>(
        &mut self,
        reader: &mut Reader<R>,
        end: u64,
    ) -> std::result::Result<(), Fault> {
        while let Some(field) = reader.field(end)? {
            match (field.number, field.end) {
                (6 | 11, Some(_)) => {
                    return Err(Fault::Refused("a node holds a graph of its own".to_owned()));
                }
                (5 | 10, Some(stop)) => self.tensor(reader, stop)?,
                (_, Some(stop)) => reader.skip_to(stop)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Weights may lie in files of the model, in no others.
    fn tensor<R: Read + Seek>(&mut self, reader: &mut Reader<R>, end: u64) -> std::result::Result<(), Fault> {
        while let Some(field) = reader.field(end)? {
            match (field.number, field.end) {
                (13, Some(stop)) => {
                    let (mut key, mut value) = (String::new(), String::new());
                    while let Some(entry) = reader.field(stop)? {
                        match (entry.number, entry.end) {
                            (1, Some(stop)) => key = reader.string(stop)?,
                            (2, Some(stop)) => value = reader.string(stop)?,
                            (_, Some(stop)) => reader.skip_to(stop)?,
                            _ => {}
                        }
                    }
                    if key == "location" && !(self.files)(&value) {
                        return Err(Fault::Refused(format!(
                            "its weights lie in {value:?}, no file of the model"
                        )));
                    }
                }
                (_, Some(stop)) => reader.skip_to(stop)?,
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Cursor;

    /// A length-delimited field.
    fn part(number: u8, content: &[u8]) -> Vec<u8> {
        let mut out = vec![number << 3 | 2];
        let mut length = content.len();
        while length >= 0x80 {
            out.push(length as u8 | 0x80);
            length >>= 7;
        }
        out.push(length as u8);
        out.extend_from_slice(content);
        out
    }

    fn node(operator: &str, domain: &str, attribute: &[u8]) -> Vec<u8> {
        part(1, &[part(4, operator.as_bytes()), part(7, domain.as_bytes()), part(5, attribute)].concat())
    }

    fn scan(bytes: &[u8], allow: bool) -> std::result::Result<usize, String> {
        let mut scan = Scan { allow_dynamic: allow, nodes: 0, files: &|name| name == "model.onnx.data" };
        let mut reader = Reader { inner: Cursor::new(bytes), at: 0 };
        match scan.model(&mut reader, bytes.len() as u64) {
            Ok(()) => Ok(scan.nodes),
            Err(Fault::Malformed(text) | Fault::Refused(text)) => Err(text),
        }
    }

    fn graph(parts: &[Vec<u8>]) -> Vec<u8> {
        [vec![8, 8], part(7, &parts.concat())].concat()
    }

    #[test]
    fn ordinary_operators_pass() {
        let bytes =
            graph(&[node("MatMul", "", &[]), node("Attention", "com.microsoft", &part(1, b"num_heads"))]);
        assert_eq!(scan(&bytes, false), Ok(2));
    }

    #[test]
    fn loops_subgraphs_foreign_operators_and_functions_are_refused() {
        for bytes in [
            graph(&[node("Loop", "", &[])]),
            graph(&[node("MatMul", "", &part(6, &[]))]),
            graph(&[node("Evil", "my.ops", &[])]),
            part(25, b"f"),
        ] {
            assert!(scan(&bytes, true).is_err());
        }
    }

    #[test]
    fn dynamic_quantisation_needs_permission() {
        let bytes = graph(&[node("DynamicQuantizeLinear", "", &[])]);
        assert!(scan(&bytes, false).unwrap_err().contains("DynamicQuantizeLinear"));
        assert_eq!(scan(&bytes, true), Ok(1));
    }

    #[test]
    fn weights_outside_the_model_are_refused() {
        let tensor =
            |file: &str| part(5, &part(13, &[part(1, b"location"), part(2, file.as_bytes())].concat()));
        assert_eq!(scan(&graph(&[tensor("model.onnx.data"), node("Add", "", &[])]), false), Ok(1));
        assert!(scan(&graph(&[tensor("../../etc/passwd")]), false).is_err());
    }

    #[test]
    fn a_cut_file_is_malformed() {
        let bytes = graph(&[node("MatMul", "", &[]), node("Add", "", &[])]);
        for length in 3..bytes.len() {
            assert!(scan(&bytes[..length], false).is_err(), "{length}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_end_in_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
            let _ = scan(&bytes, false);
        }
    }
}
