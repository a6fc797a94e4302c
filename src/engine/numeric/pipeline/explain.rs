//! What the features of a window contribute to a dot product of its vector, through whatever projection is linear.

use super::super::super::day::Day;
use super::super::model::Refused;
use super::context::DayContext;
use super::encode::PipelineRows;
use super::spec::{Channel, Layout};

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
        let spec = self.model().spec();
        let (days, channels) = (self.model().window_days(), spec.channels.len());
        for (index, (along, x)) in back.iter().zip(flat).enumerate() {
            let value = along * x;
            if value == 0.0 {
                continue;
            }
            let (channel, lag) = match spec.layout {
                Layout::NewestFirst => (index % channels, index / channels),
                Layout::DayMajor => (index % channels, days - 1 - index / channels),
                Layout::FeatureMajor => (index / days, index % days),
            };
            let feature = match factor {
                Some(factor) => format!("factor {factor}"),
                None => spec.channels[channel].name(),
            };
            parts.push(Part { feature, lag: Some(lag), value });
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
