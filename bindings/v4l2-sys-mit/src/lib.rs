//! The kernel's `linux/videodev2.h` for Rust: the crate of this name and version from crates.io, with its bindings
//! generated once and checked in instead of at each build, so that nobody needs libclang. See `bindings/README.md`.

#![allow(clippy::all, non_camel_case_types, non_snake_case, non_upper_case_globals, unsafe_op_in_unsafe_fn)]


#[cfg(not(any(target_pointer_width = "64", target_arch = "arm")))]
compile_error!(
    "v4l2-sys-mit: bindings are checked in for 64-bit machines and 32-bit ARM, and this is neither; add one to \
     bindings/generate.sh"
);

#[cfg_attr(target_pointer_width = "64", path = "bits64.rs")]
#[cfg_attr(target_pointer_width = "32", path = "bits32.rs")]
mod videodev2;

pub use videodev2::*;

// The size is part of each ioctl's number: the kernel tells by it which layout it is handed. bits64.rs and bits32.rs
// assert every structure; these are the ones that a wrong choice of file or of time_t would change.
const _: () = {
    let wide = cfg!(target_pointer_width = "64");
    assert!(size_of::<v4l2_buffer>() == if wide { 88 } else { 68 });
    assert!(size_of::<v4l2_format>() == if wide { 208 } else { 204 });
    assert!(size_of::<v4l2_ext_controls>() == if wide { 32 } else { 24 });
    assert!(size_of::<timeval>() == if wide { 16 } else { 8 });
    assert!(size_of::<v4l2_capability>() == 104);
    assert!(size_of::<v4l2_query_ext_ctrl>() == 232);
    assert!(size_of::<v4l2_streamparm>() == 204);
};
