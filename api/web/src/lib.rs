//! The site: pages for people, made of what the public API says.
//!
//! This crate must not know the store, the collector or a probe. It asks the API's own router, in the same process, what it shows
//! ([`axum::Router`] is a service), as the one who looks at the page; so a page can show nothing that the API would not.
//!
//! A request goes: `site` (is it the API's? else the slash at the end, unsafe methods, what every page's answer carries) →
//! a handler in `pages`, one file a page → `ask` → the API. A handler takes an `ask::Asker` and `choices::Choices`, gives a
//! template of `templates/`, which extends `base.html`, or a `page::Problem`. Pictures are in `charts`: pure functions, data in,
//! SVG out. Pages are whole without a script; `assets/js` adds to them. Start reading at [`router`].

mod ask;
mod assets;
mod charts;
mod choices;
mod headers;
mod origin;
mod page;
mod pages;
mod reachability;
mod site;
mod window;

pub use site::{Site, router};
