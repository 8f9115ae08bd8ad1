//! Build script of the binary: one module per thing that has to exist before `main.rs` compiles.
//!
//! With the feature `desktop` off nothing happens here. With it on: a page for the window (`build/page.rs`),
//! the window's configuration and permissions (`tauri_build`), and on Linux the trampolines that keep WebKitGTK
//! out of the start of every command (`build/trampolines.rs`).

#[cfg(feature = "desktop")]
#[path = "build/page.rs"]
mod page;
#[cfg(feature = "desktop")]
#[path = "build/trampolines.rs"]
mod trampolines;

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rustc-check-cfg=cfg(webkit_on_demand)");
    #[cfg(feature = "desktop")]
    desktop()?;
    Ok(())
}

#[cfg(feature = "desktop")]
fn desktop() -> Result<(), Box<dyn Error>> {
    page::ensure()?;
    // Naming our commands makes each of them need a permission, as the framework's own do.
    let manifest = tauri_build::AppManifest::new().commands(&["rpc"]);
    tauri_build::try_build(tauri_build::Attributes::new().app_manifest(manifest))?;
    trampolines::generate()
}
