//! What the features of a window contribute to a dot product of its vector, through whatever projection is linear, and to a
//! likeness of two vectors through one that is not.

use super::super::super::day::Day;
use super::super::super::error::{Error, Result};
use super::super::super::shapley::shapley;
use super::super::model::Refused;
use super::context::DayContext;
use super::encode::{PipelineRows, Refusal, finish};
use super::spec::{Channel, Layout};

/// Sessions before the newest with which blocks of days begin.
const BLOCKS: [usize; 5] = [0, 21, 63, 126, 252];

/// One term of a dot product.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// The channel's feature and, where it rolls, its days; or the factor; or `bias`, what a projection adds.
    pub feature: String,
    /// Sessions before the newest; none of what belongs to no day.
    pub lag: Option<usize>,
    /// The term.
    pub value: f64,
}

impl PipelineRows<'_> {
    /// The dot product of `along` (shape `[dim]`) with the vector of `as_of` before that is scaled, term by term; None
    /// where the projection is not linear. `context` was made for the date.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn parts(
        &self,
        as_of: Day,
        context: &DayContext,
        along: &[f64],
    ) -> std::result::Result<Option<Vec<Part>>, Refused> {
        let refused = |error: super::Refusal| Refused { rows: 0, error: error.into() };
        let (flat, _) = self.components(as_of, context.market()).map_err(refused)?;
        let mut parts = Vec::new();
        let Some(projection) = &context.projection else {
            let known = &along[..along.len().min(flat.len())];
            self.add(known, &flat, None, &mut parts);
            return Ok(Some(parts));
        };
        let Some((matrix, bias)) = projection.affine() else { return Ok(None) };
        let rows = matrix.rows().min(along.len());
        if self.model().factors().is_some() {
            for (factor, &along) in along[..rows].iter().enumerate() {
                let back: Vec<f64> = matrix.row(factor).iter().map(|x| along * x).collect();
                self.add(&back, &flat, Some(factor + 1), &mut parts);
            }
            return Ok(Some(parts));
        }
        let mut back = vec![0.0; matrix.cols()];
        for (row, along) in along[..rows].iter().enumerate() {
            back.iter_mut().zip(matrix.row(row)).for_each(|(slot, x)| *slot += along * x);
        }
        self.add(&back, &flat, None, &mut parts);
        if let Some(bias) = bias {
            let value = along.iter().zip(bias).map(|(x, y)| x * y).sum();
            parts.push(Part { feature: "bias".to_owned(), lag: None, value });
        }
        Ok(Some(parts))
    }

    /// Adds the terms of `back` times `flat`, both in the model's layout.
    fn add(&self, back: &[f64], flat: &[f64], factor: Option<usize>, parts: &mut Vec<Part>) {
        for (index, (along, x)) in back.iter().zip(flat).enumerate() {
            let value = along * x;
            if value == 0.0 {
                continue;
            }
            let (channel, lag) = self.place(index);
            let feature = match factor {
                Some(factor) => format!("factor {factor}"),
                None => self.model().spec().channels[channel].name(),
            };
            parts.push(Part { feature, lag: Some(lag), value });
        }
    }

    /// The channel of a component, and the sessions between its day and the newest.
    fn place(&self, index: usize) -> (usize, usize) {
        let (days, channels) = (self.model().days(), self.model().spec().channels.len());
        let (channel, day) = match self.model().spec().layout {
            Layout::NewestFirst => (index % channels, index / channels),
            Layout::DayMajor => (index % channels, days - 1 - index / channels),
            Layout::FeatureMajor => (index / days, index % days),
        };
        (channel, day * self.model().every())
    }

    /// What the features of each block of days add to how `alike` this vector of `as_of` is to that of `other`, as
    /// [`shapley`] tells it; what is absent is 0, as a day without a value. With `baseline`, the likeness where nothing is
    /// there, the parts add up to that of the whole vectors. The lag of a part is the first of its block; `contexts` were
    /// made for both.
    ///
    /// # Errors
    /// [`Error::NoVector`], those of a network that fails, and those of `alike`.
    pub fn shared(
        &self,
        other: &Self,
        as_of: Day,
        contexts: (&DayContext, &DayContext),
        alike: &dyn Fn(&[u8], &[u8]) -> Result<f64>,
    ) -> Result<Vec<Part>> {
        let (own, _) = self.components(as_of, contexts.0.market())?;
        let (others, _) = other.components(as_of, contexts.1.market())?;
        let group = |index: usize| {
            let (channel, lag) = self.place(index);
            (channel, BLOCKS.partition_point(|start| *start <= lag) - 1)
        };
        let counts = |index: &usize| own[*index] != 0.0 || others.get(*index).is_some_and(|x| *x != 0.0);
        let mut groups: Vec<(usize, usize)> = (0..own.len()).filter(counts).map(group).collect();
        groups.sort_unstable();
        groups.dedup();
        let of_group: Vec<_> = (0..own.len()).map(|index| groups.binary_search(&group(index)).ok()).collect();
        let mut worth = |team: &[bool]| {
            let kept = |index: usize| of_group[index].is_some_and(|group| team[group]);
            alike(&self.vector_of(&own, &kept, contexts.0)?, &other.vector_of(&others, &kept, contexts.1)?)
        };
        let (baseline, values) = shapley(groups.len(), &mut worth)?;
        let mut parts = vec![Part { feature: "baseline".to_owned(), lag: None, value: baseline }];
        parts.extend(groups.iter().zip(values).map(|(&(channel, block), value)| Part {
            feature: self.model().spec().channels[channel].name(),
            lag: Some(BLOCKS[block]),
            value,
        }));
        Ok(parts)
    }

    /// The vector of the components `flat` that are kept, the others 0; zeros where it has no direction.
    fn vector_of(&self, flat: &[f64], kept: &dyn Fn(usize) -> bool, context: &DayContext) -> Result<Vec<u8>> {
        let dim = self.model().dim();
        let only = flat.iter().enumerate().map(|(index, x)| if kept(index) { *x } else { 0.0 });
        let mut vector: Vec<f64> = only.collect();
        if let Some(projection) = &context.projection {
            let mut projected = vec![0.0; dim];
            projection.project(&vector, &mut projected)?;
            vector = projected;
        }
        vector.truncate(dim);
        let mut bytes = vec![0; dim * 4];
        match finish(self.model().spec().normalise, &mut vector, &mut bytes) {
            Ok(()) | Err(Refusal::Flat) => Ok(bytes),
            Err(refusal) => Err(Error::NoVector(refusal)),
        }
    }
}

impl Channel {
    /// The feature's name and, where it rolls, its days.
    fn name(&self) -> String {
        let feature = serde_json::to_value(self.feature).ok();
        let feature = feature.as_ref().and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
        match self.days {
            Some(days) => format!("{feature} {days}"),
            None => feature,
        }
    }
}
