//! The three control ioctls that `v4l` 0.14 cannot be asked for: its own walk over a device's controls panics at each
//! control type that is newer than itself (`Option::unwrap` on a kernel from 2024 on), and it cannot read a menu of
//! numbers. They need `unsafe` because the kernel writes through the pointer that it is given; each hands over a
//! structure whose size the request number states and that lives until the call returns.

#![allow(unsafe_code)]

use std::io;
use std::mem::zeroed;

use v4l::device::Handle;
use v4l::v4l_sys::{V4L2_CTRL_FLAG_NEXT_CTRL, v4l2_control, v4l2_query_ext_ctrl, v4l2_querymenu};
use v4l::v4l2::vidioc::{_IOC_TYPE, VIDIOC_G_CTRL, VIDIOC_QUERY_EXT_CTRL, VIDIOC_QUERYMENU};

/// What the kernel tells of one control.
pub struct RawControl {
    pub id: u32,
    /// A `V4L2_CTRL_TYPE_*`.
    pub kind: u32,
    pub name: String,
    pub minimum: i64,
    pub maximum: i64,
    pub step: u64,
    pub default: i64,
    /// `V4L2_CTRL_FLAG_*`
    pub flags: u32,
}

/// The control with the lowest identifier above `id`, compound controls left out; none after the last.
/// # Errors  The kernel's, such as ENODEV.
pub fn next_control(handle: &Handle, id: u32) -> io::Result<Option<RawControl>> {
    // SAFETY: the structure is plain numbers, for which zeros are valid.
    let mut query: v4l2_query_ext_ctrl = unsafe { zeroed() };
    query.id = id | V4L2_CTRL_FLAG_NEXT_CTRL;
    match ask(handle, VIDIOC_QUERY_EXT_CTRL, &mut query) {
        Ok(()) => Ok(Some(RawControl {
            id: query.id,
            kind: query.type_,
            name: text(&query.name.map(|letter| letter as u8)),
            minimum: query.minimum,
            maximum: query.maximum,
            step: query.step,
            default: query.default_value,
            flags: query.flags,
        })),
        // EINVAL ends the list; a driver without controls says ENOTTY.
        Err(error) if matches!(error.raw_os_error(), Some(22 | 25)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The value of a control of at most 32 bits.
/// # Errors  The kernel's, such as EACCES for a control that can only be written.
pub fn control_value(handle: &Handle, id: u32) -> io::Result<i32> {
    let mut control = v4l2_control { id, value: 0 };
    ask(handle, VIDIOC_G_CTRL, &mut control)?;
    Ok(control.value)
}

/// The item of a menu: its name, or its number in a menu of numbers.
/// # Errors  EINVAL where the menu has a gap.
pub fn menu_item(handle: &Handle, id: u32, index: u32, of_numbers: bool) -> io::Result<String> {
    // SAFETY: the structure is plain numbers and letters, for which zeros are valid.
    let mut query: v4l2_querymenu = unsafe { zeroed() };
    (query.id, query.index) = (id, index);
    ask(handle, VIDIOC_QUERYMENU, &mut query)?;
    let item = query.__bindgen_anon_1;
    // SAFETY: any bytes are a number and letters, and the kernel fills the field of the menu's kind.
    Ok(if of_numbers { unsafe { item.value }.to_string() } else { text(unsafe { &item.name }) })
}

fn ask<T>(handle: &Handle, request: _IOC_TYPE, structure: &mut T) -> io::Result<()> {
    // SAFETY: each caller above pairs the request with the structure whose size is part of the request's number.
    unsafe { v4l::v4l2::ioctl(handle.fd(), request, (&raw mut *structure).cast()) }
}

fn text(letters: &[u8]) -> String {
    let end = letters.iter().position(|&letter| letter == 0).unwrap_or(letters.len());
    String::from_utf8_lossy(&letters[..end]).into_owned()
}
