#![forbid(unsafe_code)]
//! Matrices that a thread keeps from call to call, since making one takes up to a second: few, and of bounded size.

use std::cell::RefCell;
use std::rc::Rc;

use super::error::Result;
use super::linear::Matrix;

/// Most matrices kept in one place.
const MOST: usize = 4;

/// Elements that they may have together (128 MiB); a larger matrix is made anew by each call that needs it.
const MOST_ELEMENTS: usize = 1 << 24;

/// The newest matrices by what they were made of.
#[derive(Debug)]
pub struct Kept<K>(RefCell<Vec<(K, Rc<Matrix>)>>);

impl<K: PartialEq> Kept<K> {
    /// None yet.
    pub const fn new() -> Self {
        Self(RefCell::new(Vec::new()))
    }

    /// The matrix of `key`, made by `make` unless it is kept. Errors: those of `make`.
    pub fn get(&self, key: K, make: impl FnOnce() -> Result<Matrix>) -> Result<Rc<Matrix>> {
        if let Ok(kept) = self.0.try_borrow()
            && let Some((_, matrix)) = kept.iter().find(|(other, _)| *other == key)
        {
            return Ok(Rc::clone(matrix));
        }
        let matrix = Rc::new(make()?);
        if let Ok(mut kept) = self.0.try_borrow_mut()
            && elements(&matrix) <= MOST_ELEMENTS
        {
            let total =
                |kept: &[(K, Rc<Matrix>)]| kept.iter().map(|(_, other)| elements(other)).sum::<usize>();
            while kept.len() == MOST || total(&kept) > MOST_ELEMENTS - elements(&matrix) {
                kept.remove(0);
            }
            kept.push((key, Rc::clone(&matrix)));
        }
        Ok(matrix)
    }
}

impl<K: PartialEq> Default for Kept<K> {
    fn default() -> Self {
        Self::new()
    }
}

fn elements(matrix: &Matrix) -> usize {
    matrix.rows() * matrix.cols()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which of the sizes are kept after they were asked for in order, each a row of its own length.
    fn left(sizes: &[usize]) -> Vec<usize> {
        let kept = Kept::new();
        for &size in sizes {
            let matrix = kept.get(size, || Matrix::zeros(1, size)).unwrap();
            assert_eq!(matrix.cols(), size);
        }
        kept.0.borrow().iter().map(|(size, _)| *size).collect()
    }

    #[test]
    fn the_newest_are_kept_and_made_once() {
        assert_eq!(left(&[1, 2, 3, 4, 5, 5, 2]), [2, 3, 4, 5]);
        let kept = Kept::new();
        kept.get(7, || Matrix::zeros(1, 1)).unwrap();
        assert!(kept.get(7, || unreachable!()).is_ok());
    }

    /// Regression: four of 512 MiB each stayed for as long as the session did.
    #[test]
    fn what_is_kept_has_a_bounded_size() {
        assert_eq!(left(&[1, MOST_ELEMENTS + 1, 2]), [1, 2]);
        let half = MOST_ELEMENTS / 2;
        assert_eq!(left(&[1, half - 1, half]), [1, half - 1, half]);
        assert_eq!(left(&[2, half - 1, half]), [half - 1, half]);
        assert_eq!(left(&[MOST_ELEMENTS, 3]), [3]);
    }
}
