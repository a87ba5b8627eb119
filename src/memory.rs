//! What a teaching no longer uses, given back to the system.
//!
//! glibc keeps what is freed: blocks of up to 32 MiB, once some of them were, and of small ones all that lies below one that is
//! still in use. A teaching needs hundreds of MiB for one thing after another, and would come to hold 1.1 GiB where it
//! uses 0.8. The daemon asks for nothing while it runs and is left alone.

#![allow(unsafe_code)]

/// From now on, blocks of 4 MiB go back as soon as they are free.
pub fn keep_no_large_blocks() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes two numbers, and glibc locks what it changes.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 4 << 20);
    }
}

/// All that is free now goes back.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it touches free memory alone, and glibc locks what it changes.
    unsafe {
        libc::malloc_trim(0);
    }
}
