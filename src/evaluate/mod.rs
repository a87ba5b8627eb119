//! Labelled folders to numbers: how well a profile tells good parts from anomalous ones.
//!
//! `dataset` reads a folder in the layout of MVTec AD, `run` teaches on its good parts and judges the others, `figures`
//! and `findings` say what that means, by the `metrics`; `report` draws it as one HTML page that a person can open,
//! print and send. What is evaluated is what ships: the scores come from the same `Inspector::inspect` as on the line.
//!
//! Not here: choosing a threshold. It comes from good parts of the teaching alone, and whoever tunes it on
//! a labelled test set reports a figure that the line will not keep.
pub mod compare;
pub mod dataset;
pub mod figures;
pub mod findings;
pub mod known;
pub mod metrics;
pub mod report;
pub mod run;
