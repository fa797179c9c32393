//! Pictures: pure functions, data in, SVG out. They know no request and no clock.
//!
//! [`svg`] writes and escapes; [`scale`] puts values on a line and finds round ticks; [`number`] and [`time`] write values as people
//! read them; [`palette`] gives values their class; [`world`] has the shapes of
//! countries and puts places on the map. Colours are in `base.css`, under these classes. A picture says its finding in
//! its figure's caption, and its values in a table beside it.

pub(crate) mod bands;
pub(crate) mod dots;
pub(crate) mod heat;
pub(crate) mod loss;
pub(crate) mod map;
pub(crate) mod number;
pub(crate) mod palette;
pub(crate) mod paths;
pub(crate) mod picture;
pub(crate) mod places;
pub(crate) mod scale;
pub(crate) mod series;
pub(crate) mod spark;
pub(crate) mod strip;
pub(crate) mod svg;
pub(crate) mod time;
pub(crate) mod world;
