"""The command line's part about sets of images: fid."""

from __future__ import annotations

import argparse
import sys
from contextlib import redirect_stdout

FID_EXAMPLES = """images are one of
  FOLDER      all pictures in and below it: PNG, JPEG and the like, 8 bits, grey or RGB, all of one size
  FILE.npz    an array images, arr_0, imgs or data: uint8 (n, h, w, c) or (n, h, w)
              or statistics, mu and sigma, as --save-statistics writes them: for fid only
  NAME        a data set: disbench list datasets

features are found by one of
  inception           torch-fidelity's FID Inception; its file of weights has to be fetched by hand once
  inception@disdiff   the same, fed [-1, 509] in place of [-1, 1], as DisDiff's and EncDiff's released scripts feed
                      it. That is a mistake in them: only for comparison with their numbers; reported as fid@disdiff
  FILE.py:CALLABLE, PACKAGE.MODULE:CALLABLE or the path of a network
                      from images float32 (n, c, h, w) in [0, 1] to features (n, d)

examples:
  disbench fid celeba samples/ --num-images 10000
  disbench fid real/ fake/ --metrics fid,kid,precision_recall --set kid.subset_size=500
  disbench fid real.npz fake.npz --features network.py:features --save-statistics real-statistics.npz
  disbench fid real-statistics.npz fake.npz --features network.py:features

"""


def add_fid(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `disbench fid`."""
    parser.add_argument("real", metavar="REAL", help="the reference images, or their statistics; see below")
    parser.add_argument("fake", metavar="FAKE", help="the images that are judged, of the same size")
    how = parser.add_argument_group("how")
    how.add_argument(
        "--metrics", default="fid", metavar="A,B",
        help="of fid, kid, precision_recall, density_coverage (default: %(default)s)",
    )  # fmt: skip
    how.add_argument(
        "--set", action="append", default=[], metavar="METRIC.SETTING=VALUE",
        help="change a setting, as kid.subset_size=500; may be repeated",
    )  # fmt: skip
    how.add_argument("--features", metavar="NAME", help="what finds features, see below (default: inception)")
    how.add_argument("--weights", metavar="FILE", help="Inception's weights, if not the published file")
    how.add_argument(
        "--num-images", type=int, metavar="N",
        help="so many different images of each set, drawn at random (default: all). Values of fid compare only "
        "where this is the same",
    )  # fmt: skip
    how.add_argument(
        "--seed", type=int, default=0, metavar="S", help="of that draw and the metrics' own (default: %(default)s)"
    )
    how.add_argument("--data-dir", metavar="DIR", help="folder with files of data sets, or of Inception's weights")
    how.add_argument("--device", metavar="D", help="cpu, cuda, cuda:1 ... (default: a GPU for Inception, if any)")
    how.add_argument("--batch-size", type=int, metavar="B", help="images at a time (default: 32; 256 on a GPU)")
    how.add_argument(
        "--trust", action="store_true", help="load TorchScript or torch.export archives, which can run code"
    )
    output = parser.add_argument_group("output")
    output.add_argument(
        "--save-statistics", metavar="FILE.npz", help="keep the statistics of REAL: mu, sigma, n, features"
    )
    output.add_argument("--json", action="store_true", help="print all of it on one line instead of the table")
    parser.set_defaults(run=_fid)


def _fid(arguments: argparse.Namespace) -> int:
    from disbench.image_comparison import compare_images
    from disbench.settings import parse_pairs

    with redirect_stdout(sys.stderr):  # what a network prints is no data of ours
        comparison = compare_images(
            arguments.real,
            arguments.fake,
            metrics=arguments.metrics,
            settings=parse_pairs(arguments.set),
            features=arguments.features,
            weights=arguments.weights,
            num_images=arguments.num_images,
            seed=arguments.seed,
            data_dir=arguments.data_dir,
            device=arguments.device,
            batch_size=arguments.batch_size,
            trust=arguments.trust,
            save_statistics=arguments.save_statistics,
            command=arguments.command,
            progress=True,
        )
    print(comparison.to_json() if arguments.json else comparison)
    return 0 if comparison.complete else 1
