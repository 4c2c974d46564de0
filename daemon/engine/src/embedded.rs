//! The model that is compiled in, so that there is something to run right after the build. The build script lists the
//! files of its folder; nothing here knows their number, names or sizes, so that a better checkpoint can take their place.

use crate::checkpoint::{Checkpoint, EmbeddedFile};
use crate::engine::About;

/// Its name in requests.
pub const NAME: &str = "dreamlite-nano";

/// What it draws; clients show this sentence when they use it.
const DESCRIPTION: &str = "draws one to three plain shapes (circle, square, triangle, star, heart, ring) in ten colours on \
    simple backgrounds at 128x128, and recolours, adds, removes or moves them";

/// Trained from scratch on drawn pictures for this project; see `daemon/models/README.md`.
const LICENSE: &str = "MIT OR Apache-2.0";

include!(concat!(env!("OUT_DIR"), "/embedded_files.rs"));

/// The embedded checkpoint.
pub fn checkpoint() -> Checkpoint {
    Checkpoint::embedded(FILES)
}

pub(crate) fn about() -> About {
    About { description: DESCRIPTION.to_owned(), license: LICENSE.to_owned(), demonstration: true }
}
