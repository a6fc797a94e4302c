//! Vectors out of lists of named numbers: the features of a risk report, the cells of a scenario panel.

use super::super::error::{Error, Result};

/// Most characters of a number that a message repeats.
const SHOWN: usize = 24;

/// The values of a comma-separated list of JSON numbers and booleans, in order: a number is rounded to
/// float64, then to float32 (beyond its range to infinity); `true` is 1, `false` 0.
///
/// Errors: [`Error::NumberTooLarge`] for an integer beyond float64, which the published system refuses too,
/// [`Error::MalformedNumber`] for what JSON does not know.
pub fn json_numbers(list: &str) -> Result<Vec<f32>> {
    list.split(',').map(str::trim).filter(|item| !item.is_empty()).enumerate().map(number).collect()
}

fn number((index, text): (usize, &str)) -> Result<f32> {
    match text {
        "true" => return Ok(1.0),
        "false" => return Ok(0.0),
        _ => {}
    }
    let shown = || match text.char_indices().nth(SHOWN) {
        Some((cut, _)) => format!("{}... ({} characters)", &text[..cut], text.len()),
        None => text.to_owned(),
    };
    let (position, json) = (index + 1, text.starts_with(|c: char| c == '-' || c.is_ascii_digit()));
    let value = text.parse::<f64>().ok().filter(|_| json);
    let value = value.ok_or_else(|| Error::MalformedNumber { position, text: shown() })?;
    let integer = !text.contains(['.', 'e', 'E']);
    if integer && value.is_infinite() {
        return Err(Error::NumberTooLarge { position, text: shown() });
    }
    Ok(value as f32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_are_read_as_the_published_system_reads_them() {
        let digits30 = "123456789012345678901234567890";
        let tiny = format!("0.{}1", "0".repeat(49));
        let fraction = format!("{}.5", "9".repeat(400));
        let list = format!("1,true,false,-0.5,{digits30},{tiny},1{},{fraction},0", "0".repeat(40));
        let values = json_numbers(&list).unwrap();
        let expected = [1.0, 1.0, 0.0, -0.5, 1.234_567_9e29, 0.0, f32::INFINITY, f32::INFINITY, 0.0];
        assert_eq!(values, expected);
        assert!(json_numbers("").unwrap().is_empty());
    }

    #[test]
    fn an_integer_beyond_float64_is_named() {
        let list = format!("1,2,-{}", "9".repeat(400));
        match json_numbers(&list) {
            Err(Error::NumberTooLarge { position: 3, text }) => {
                assert_eq!(text, format!("-{}... (401 characters)", "9".repeat(23)));
            }
            other => panic!("{other:?}"),
        }
        for odd in ["nan", "inf", "infinity", "+1", "x", "1 2", ".5"] {
            assert!(matches!(json_numbers(odd), Err(Error::MalformedNumber { position: 1, .. })), "{odd}");
        }
    }

    proptest! {
        #[test]
        fn every_double_survives(values in prop::collection::vec(prop::num::f64::NORMAL, 0..40)) {
            let list: Vec<String> = values.iter().map(|v| format!("{v:e}")).collect();
            let expected: Vec<f32> = values.iter().map(|&v| v as f32).collect();
            prop_assert_eq!(json_numbers(&list.join(",")).unwrap(), expected);
        }
    }
}
