//! A rectangle of pixels.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Size;

/// A rectangle of pixels: `x` to the right and `y` down from the top left corner of the canvas. What a client sends may reach over
/// the canvas on every side (layers and masks do); what the daemon answers lies within it. Every function is total.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rect {
    /// Left edge in pixels.
    pub x: i32,
    /// Top edge in pixels.
    pub y: i32,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
}

impl Rect {
    /// The whole of a canvas.
    pub fn of(size: Size) -> Self {
        Self { x: 0, y: 0, width: size.width, height: size.height }
    }

    /// Width and height.
    pub fn size(self) -> Size {
        Size { width: self.width, height: self.height }
    }

    /// True without a pixel.
    pub fn is_empty(self) -> bool {
        self.width == 0 || self.height == 0
    }

    /// First column to the right of it.
    pub fn right(self) -> i64 {
        i64::from(self.x) + i64::from(self.width)
    }

    /// First row below it.
    pub fn bottom(self) -> i64 {
        i64::from(self.y) + i64::from(self.height)
    }

    /// The part that both have; `None` when they have none.
    #[must_use]
    pub fn intersect(self, other: Self) -> Option<Self> {
        Self::between(
            (i64::from(self.x.max(other.x)), i64::from(self.y.max(other.y))),
            (self.right().min(other.right()), self.bottom().min(other.bottom())),
        )
    }

    /// The smallest rectangle around both; an empty one counts for nothing.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        if self.is_empty() || other.is_empty() {
            return if self.is_empty() { other } else { self };
        }
        Self::between(
            (i64::from(self.x.min(other.x)), i64::from(self.y.min(other.y))),
            (self.right().max(other.right()), self.bottom().max(other.bottom())),
        )
        .unwrap_or(self)
    }

    /// True when `other` lies within; an empty one does.
    pub fn contains(self, other: Self) -> bool {
        other.is_empty() || self.intersect(other) == Some(other)
    }

    /// Wider by `px` on every side, as far as `within` reaches; `None` when nothing of it lies there.
    #[must_use]
    pub fn expanded(self, px: u32, within: Self) -> Option<Self> {
        let px = i64::from(px);
        Self::between((i64::from(self.x) - px, i64::from(self.y) - px), (self.right() + px, self.bottom() + px))?
            .intersect(within)
    }

    /// From a corner to one beyond the opposite pixel, cut to what numbers can hold; `None` when that has no pixel.
    fn between((left, top): (i64, i64), (right, bottom): (i64, i64)) -> Option<Self> {
        let place = |v: i64| v.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32;
        let (x, y) = (place(left), place(top));
        let length = |from: i32, to: i64| u32::try_from((to - i64::from(from)).min(i64::from(u32::MAX))).unwrap_or(0);
        let rect = Self { x, y, width: length(x, right), height: length(y, bottom) };
        (!rect.is_empty()).then_some(rect)
    }
}

impl fmt::Display for Rect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{} at {},{}", self.width, self.height, self.x, self.y)
    }
}
