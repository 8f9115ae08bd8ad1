//! Makes sure that `ui/dist` holds a page, because the window's assets are embedded at compile time.
//!
//! A fresh clone must build with `cargo build` alone, so an absent page is replaced by one that says how to build
//! the real one. A page that exists is never touched.

use std::{fs, io, path::Path};

const PAGE: &str = r#"<!doctype html>
<html lang="en">
  <head><meta charset="utf-8"><title>agentsup</title></head>
  <body>
    <h1>agentsup was built without its window</h1>
    <p>Run <code>make build</code>, or <code>npm ci</code> and <code>npm run build</code> in <code>ui/</code>, then build again.</p>
  </body>
</html>
"#;

/// Writes the stand-in page if there is none, and rebuilds when the page changes.
pub(crate) fn ensure() -> io::Result<()> {
    let dist = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ui/dist");
    let index = dist.join("index.html");
    if !index.exists() {
        fs::create_dir_all(&dist)?;
        fs::write(&index, PAGE)?;
    }
    println!("cargo:rerun-if-changed={}", dist.display());
    Ok(())
}
