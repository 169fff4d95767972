//! Where an export is and which one, as flags that several programs have. What is under a place, `find` and `chain` know.

use fault::{Failure, Fault, Problem};

use crate::find::Choice;
use crate::location::Location;

/// The place and the choice, with `#[command(flatten)]`.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Source")]
pub struct Place {
    /// Where the export is: `s3://BUCKET/PREFIX` or a folder
    #[arg(long, value_name = "SOURCE")]
    pub source: Option<String>,

    /// The bucket
    #[arg(long, value_name = "BUCKET", env = "S3_BUCKET")]
    pub s3_bucket: Option<String>,

    /// What the keys begin with
    #[arg(long, value_name = "PREFIX", env = "S3_PREFIX")]
    pub s3_prefix: Option<String>,

    /// The export with this id, where there is more than one
    #[arg(long, value_name = "ID", conflicts_with = "latest")]
    pub export: Option<String>,

    /// The last export in time, where there is more than one
    #[arg(long)]
    pub latest: bool,
}

impl Place {
    /// The place that the command line and the settings name.
    ///
    /// # Errors
    /// None is named, or it cannot be one.
    pub fn location(&self) -> Result<Location, Failure> {
        if let Some(place) = &self.source {
            return Ok(Location::parse(place)?);
        }
        match (&self.s3_bucket, &self.s3_prefix) {
            (Some(bucket), prefix) => Ok(Location::s3(bucket, prefix.as_deref().unwrap_or_default())),
            (None, _) => Err(Problem::new(Fault::Setup, "it is not said where the export is")
                .with_hint("give s3://BUCKET/PREFIX or a folder, or set S3_BUCKET and S3_PREFIX")
                .into()),
        }
    }

    /// Which export, where there is more than one.
    pub fn choice(&self) -> Choice {
        match &self.export {
            Some(id) => Choice::Id(id.clone()),
            None if self.latest => Choice::Latest,
            None => Choice::Only,
        }
    }
}
