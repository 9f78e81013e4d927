"""Score a table of pictures on all cores, or all machines, with Ray Data or Daft.

    pip install "rali[scale]"          # or "rali[data]" daft
    python ray_and_daft.py ray pictures.parquet scored/
    python ray_and_daft.py daft pictures.parquet scored/

The table's column `image` holds paths, bytes of files or a data set's image cells. Each worker
opens the model once. The scored table has `score` and `error` beside the columns that it had.
"""

from __future__ import annotations

import argparse

from rali import RaliScorer


def with_ray(table: str, output: str) -> None:
    """A worker per core, as many as reading and writing leave free."""
    import ray

    pool = ray.data.ActorPoolStrategy(min_size=1)  # a fixed size could leave no core to read with
    pictures = ray.data.read_parquet(table)
    pictures.map_batches(RaliScorer, compute=pool, num_cpus=1, batch_size=64).write_parquet(output)


def with_daft(table: str, output: str) -> None:
    """Daft starts the workers that it has cores for."""
    import daft

    columns = {"score": daft.DataType.float64(), "error": daft.DataType.string()}

    @daft.cls
    class Quality(RaliScorer):
        @daft.method.batch(return_dtype=daft.DataType.struct(columns), unnest=True)
        def of(self, pictures):
            return self.score(pictures).to_struct_array().combine_chunks()

    pictures = daft.read_parquet(table)
    pictures.select("*", Quality().of(pictures["image"])).write_parquet(output)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("engine", choices=["ray", "daft"])
    parser.add_argument("table", help="a Parquet file or folder with a column image")
    parser.add_argument("output", help="folder for the scored table")
    given = parser.parse_args()
    {"ray": with_ray, "daft": with_daft}[given.engine](given.table, given.output)
