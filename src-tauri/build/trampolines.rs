//! Writes `$OUT_DIR/trampolines.s`: one small jump per function of WebKitGTK and the libraries under it.
//!
//! Linking WebKitGTK costs every command 70 ms and keeps the program from starting at all where it is not
//! installed. So each of its functions is defined here, hidden, as a jump through a slot; the linker then finds
//! nothing left to take from the libraries and, being called with `--as-needed`, drops them. A slot is filled at
//! the first call (`src/webkit.rs`). Functions nobody calls are collected by the linker, one section each.
//!
//! Invariants: a function missing here never breaks the build, it only brings the library back, which the test
//! `tests/build` notices. Elsewhere than on Linux for x86-64 and AArch64, and when cross-compiling, nothing is
//! written and the libraries are linked as usual.

use std::{
    collections::BTreeSet,
    env,
    error::Error,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use object::{Object as _, ObjectSymbol as _, SymbolKind};

/// The libraries that the window's bindings link: pkg-config module and file name.
const LIBRARIES: &[(&str, &str)] = &[
    ("webkit2gtk-4.1", "libwebkit2gtk-4.1.so"),
    ("javascriptcoregtk-4.1", "libjavascriptcoregtk-4.1.so"),
    ("libsoup-3.0", "libsoup-3.0.so"),
    ("gtk+-3.0", "libgtk-3.so"),
    ("gdk-3.0", "libgdk-3.so"),
    ("gdk-pixbuf-2.0", "libgdk_pixbuf-2.0.so"),
    ("atk", "libatk-1.0.so"),
    ("pango", "libpango-1.0.so"),
    ("pangocairo", "libpangocairo-1.0.so"),
    ("cairo", "libcairo.so"),
    ("cairo-gobject", "libcairo-gobject.so"),
    ("gio-2.0", "libgio-2.0.so"),
    ("gobject-2.0", "libgobject-2.0.so"),
    ("gmodule-2.0", "libgmodule-2.0.so"),
    ("glib-2.0", "libglib-2.0.so"),
];

/// What the functions of those libraries begin with. Anything else they export is not part of their interface.
const PREFIXES: &[&str] =
    &["webkit_", "jsc_", "JS", "soup_", "gtk_", "gdk_", "atk_", "pango_", "cairo_", "g_", "glib_"];

/// Exported data the bindings use: a pointer each, copied once the libraries are there.
const DATA: &[&str] = &["g_param_spec_types"];

/// The assembly of one architecture.
struct Architecture {
    /// One trampoline; `@` stands for the function's name.
    trampoline: &'static str,
    /// `agentsup_webkit_resolve`: saves the arguments, asks `agentsup_webkit_find`, goes where that says.
    resolver: &'static str,
}

/// Writes the assembly and sets the cfg `webkit_on_demand`, where this is possible.
pub(crate) fn generate() -> Result<(), Box<dyn Error>> {
    let architecture = match env::var("CARGO_CFG_TARGET_ARCH")?.as_str() {
        "x86_64" => X86_64,
        "aarch64" => AARCH64,
        _ => return Ok(()),
    };
    let native = env::var("TARGET")? == env::var("HOST")?;
    if env::var("CARGO_CFG_TARGET_OS")? != "linux" || !native {
        return Ok(());
    }
    let mut functions = BTreeSet::new();
    for &(module, file) in LIBRARIES {
        let path = library_directory(module)?.join(file);
        println!("cargo:rerun-if-changed={}", path.display());
        functions.extend(exported_functions(&path)?);
    }
    let path = PathBuf::from(env::var("OUT_DIR")?).join("trampolines.s");
    fs::write(path, assembly(&architecture, &functions))?;
    println!("cargo:rustc-cfg=webkit_on_demand");
    Ok(())
}

fn library_directory(module: &str) -> Result<PathBuf, Box<dyn Error>> {
    println!("cargo:rerun-if-env-changed=PKG_CONFIG");
    println!("cargo:rerun-if-env-changed=PKG_CONFIG_PATH");
    let program = env::var("PKG_CONFIG").unwrap_or_else(|_| "pkg-config".into());
    let output = Command::new(program).args(["--variable=libdir", module]).output()?;
    if !output.status.success() {
        return Err(format!("pkg-config does not know `{module}`: apt install libwebkit2gtk-4.1-dev").into());
    }
    Ok(PathBuf::from(String::from_utf8(output.stdout)?.trim()))
}

fn exported_functions(path: &Path) -> Result<Vec<String>, Box<dyn Error>> {
    let bytes = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let library = object::File::parse(bytes.as_slice())?;
    let names = library
        .dynamic_symbols()
        .filter(|symbol| symbol.is_definition() && symbol.kind() == SymbolKind::Text)
        .filter_map(|symbol| symbol.name().ok())
        .filter(|name| PREFIXES.iter().any(|prefix| name.starts_with(prefix)))
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'));
    Ok(names.map(str::to_owned).collect())
}

fn assembly(architecture: &Architecture, functions: &BTreeSet<String>) -> String {
    let mut text = String::from(architecture.resolver);
    for name in functions {
        // The record: where the function is (0 until it is called), then its name.
        text.push_str(&architecture.trampoline.replace('@', name));
        let _infallible = writeln!(
            text,
            ".section .data.agentsup.{name},\"aw\",%progbits\n.balign 8\n.Lagentsup.{name}:\n.quad 0\n.asciz \"{name}\""
        );
    }
    for name in DATA {
        let _infallible = writeln!(
            text,
            ".section .bss.agentsup.{name},\"aw\",%nobits\n.balign 8\n.globl {name}\n.hidden {name}\n\
             .type {name},%object\n.size {name},8\n{name}:\n.zero 8"
        );
    }
    text.push_str(".text\n");
    text
}

/// The record travels in `r11`, which the calling convention leaves to code like this. The resolver keeps every
/// register that can carry an argument: six integers, `rax` (how many vector registers a variadic call uses),
/// `r10` (static chain) and `xmm0` to `xmm7`.
const X86_64: Architecture = Architecture {
    trampoline: r#"
.section .text.agentsup.@,"ax",%progbits
.globl @
.hidden @
.type @,%function
@:
    mov r11, qword ptr [rip + .Lagentsup.@]
    test r11, r11
    je 1f
    jmp r11
1:  lea r11, [rip + .Lagentsup.@]
    jmp agentsup_webkit_resolve
.size @,.-@
"#,
    resolver: r#"
.section .text.agentsup_webkit_resolve,"ax",%progbits
.type agentsup_webkit_resolve,%function
agentsup_webkit_resolve:
    .cfi_startproc
    push rdi
    push rsi
    push rdx
    push rcx
    push r8
    push r9
    push rax
    push r10
    sub rsp, 136
    .cfi_def_cfa_offset 208
    movups [rsp], xmm0
    movups [rsp + 16], xmm1
    movups [rsp + 32], xmm2
    movups [rsp + 48], xmm3
    movups [rsp + 64], xmm4
    movups [rsp + 80], xmm5
    movups [rsp + 96], xmm6
    movups [rsp + 112], xmm7
    mov rdi, r11
    call agentsup_webkit_find
    mov r11, rax
    movups xmm0, [rsp]
    movups xmm1, [rsp + 16]
    movups xmm2, [rsp + 32]
    movups xmm3, [rsp + 48]
    movups xmm4, [rsp + 64]
    movups xmm5, [rsp + 80]
    movups xmm6, [rsp + 96]
    movups xmm7, [rsp + 112]
    add rsp, 136
    pop r10
    pop rax
    pop r9
    pop r8
    pop rcx
    pop rdx
    pop rsi
    pop rdi
    .cfi_def_cfa_offset 8
    jmp r11
    .cfi_endproc
.size agentsup_webkit_resolve,.-agentsup_webkit_resolve
"#,
};

/// The record travels in `x15`: a scratch register that, unlike `x16` and `x17`, no linker veneer touches. The
/// resolver keeps `x0` to `x7`, `x8` (where a large result goes) and `q0` to `q7`.
const AARCH64: Architecture = Architecture {
    trampoline: r#"
.section .text.agentsup.@,"ax",%progbits
.globl @
.hidden @
.type @,%function
.p2align 2
@:
    adrp x15, .Lagentsup.@
    add x15, x15, :lo12:.Lagentsup.@
    ldr x16, [x15]
    cbz x16, 1f
    br x16
1:  b agentsup_webkit_resolve
.size @,.-@
"#,
    resolver: r#"
.section .text.agentsup_webkit_resolve,"ax",%progbits
.type agentsup_webkit_resolve,%function
.p2align 2
agentsup_webkit_resolve:
    .cfi_startproc
    stp x29, x30, [sp, #-224]!
    .cfi_def_cfa_offset 224
    .cfi_offset x29, -224
    .cfi_offset x30, -216
    mov x29, sp
    stp x0, x1, [sp, #16]
    stp x2, x3, [sp, #32]
    stp x4, x5, [sp, #48]
    stp x6, x7, [sp, #64]
    str x8, [sp, #80]
    stp q0, q1, [sp, #96]
    stp q2, q3, [sp, #128]
    stp q4, q5, [sp, #160]
    stp q6, q7, [sp, #192]
    mov x0, x15
    bl agentsup_webkit_find
    mov x16, x0
    ldp x0, x1, [sp, #16]
    ldp x2, x3, [sp, #32]
    ldp x4, x5, [sp, #48]
    ldp x6, x7, [sp, #64]
    ldr x8, [sp, #80]
    ldp q0, q1, [sp, #96]
    ldp q2, q3, [sp, #128]
    ldp q4, q5, [sp, #160]
    ldp q6, q7, [sp, #192]
    ldp x29, x30, [sp], #224
    .cfi_restore x29
    .cfi_restore x30
    .cfi_def_cfa_offset 0
    br x16
    .cfi_endproc
.size agentsup_webkit_resolve,.-agentsup_webkit_resolve
"#,
};
