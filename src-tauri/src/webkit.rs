//! WebKitGTK on demand: opens it when the window is wanted, and finds each of its functions at the first call.
//!
//! `build/trampolines.rs` defines every function of WebKitGTK and the libraries under it as a jump through a slot.
//! The first jump of each comes to [`agentsup_webkit_find`], which looks the function up and fills the slot.
//!
//! Invariant: [`load`] succeeds before anything that calls into GTK runs. Must not: run before the desktop verb.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::io::Write as _;
use std::sync::atomic::{AtomicPtr, Ordering};

/// The one library to open: the functions of all others are found through what it depends on.
const LIBRARY: &CStr = c"libwebkit2gtk-4.1.so.0";

static HANDLE: AtomicPtr<c_void> = AtomicPtr::new(std::ptr::null_mut());

std::arch::global_asm!(include_str!(concat!(env!("OUT_DIR"), "/trampolines.s")));

/// WebKitGTK could not be opened; the text is the dynamic linker's.
#[derive(Debug)]
pub(crate) struct LoadError(pub(crate) String);

/// A trampoline's slot and the name that follows it.
#[repr(C)]
struct Record {
    address: AtomicPtr<c_void>,
    name: [c_char; 0],
}

unsafe extern "C" {
    /// Ours, hidden (`build/trampolines.rs`): GLib's table of the types of parameter specifications.
    static g_param_spec_types: AtomicPtr<c_void>;
    /// GTK's, through its trampoline.
    fn gtk_init_check(argc: *mut c_int, argv: *mut *mut *mut c_char) -> c_int;
}

/// Opens WebKitGTK and what it depends on; quick when they are open already.
pub(crate) fn load() -> Result<(), LoadError> {
    // GTK modules and input methods expect to find GTK in the global scope, where linking would have put it.
    // SAFETY: a constant C string; the library's own initialisers are what linking it would have run.
    let handle = unsafe { libc::dlopen(LIBRARY.as_ptr(), libc::RTLD_LAZY | libc::RTLD_GLOBAL) };
    if handle.is_null() {
        return Err(LoadError(last_error()));
    }
    HANDLE.store(handle, Ordering::Release);
    // SAFETY: the symbol is a pointer variable in the library and in ours, set by the library's initialiser.
    unsafe {
        let table = libc::dlsym(handle, c"g_param_spec_types".as_ptr()).cast::<*mut c_void>();
        if table.is_null() {
            return Err(LoadError(last_error()));
        }
        g_param_spec_types.store(*table, Ordering::Release);
    }
    Ok(())
}

/// Whether GTK finds a display; the window framework would panic without one. Needs [`load`].
pub(crate) fn has_display() -> bool {
    // SAFETY: GTK may be asked any number of times, on the main thread, and takes no arguments as null.
    unsafe { gtk_init_check(std::ptr::null_mut(), std::ptr::null_mut()) != 0 }
}

/// Called by the trampolines: the address of the function whose record this is.
///
/// # Safety
/// `record` comes from a trampoline.
#[unsafe(no_mangle)]
unsafe extern "C" fn agentsup_webkit_find(record: *const Record) -> *mut c_void {
    // SAFETY: the record is static data laid out by `build/trampolines.rs`: an address, then a C string.
    let (slot, name) = unsafe { (&(*record).address, CStr::from_ptr((&raw const (*record).name).cast())) };
    let handle = HANDLE.load(Ordering::Acquire);
    // SAFETY: a handle that was never closed and a C string.
    let address = if handle.is_null() { handle } else { unsafe { libc::dlsym(handle, name.as_ptr()) } };
    if address.is_null() {
        // There is nothing to return to: the caller believes it is calling the function itself.
        let name = name.to_string_lossy();
        let _unheard = writeln!(std::io::stderr(), "error: this WebKitGTK has no `{name}`\nhint: update it");
        std::process::abort();
    }
    slot.store(address, Ordering::Release);
    address
}

fn last_error() -> String {
    // SAFETY: the text belongs to the dynamic linker and lives until its next call on this thread.
    unsafe {
        let text = libc::dlerror();
        if text.is_null() {
            "no reason given".into()
        } else {
            CStr::from_ptr(text).to_string_lossy().into_owned()
        }
    }
}
