"""Stages on a local Ray of two workers: the bytes of a local run, whoever dies."""

from __future__ import annotations

import dataclasses
import fcntl
import importlib
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from conftest import Mini, contents

from xqg_repro import cli
from xqg_repro.collection.records import PlainDocument
from xqg_repro.core import cluster, workers
from xqg_repro.core.cluster import Distribution
from xqg_repro.core.errors import InputError
from xqg_repro.core.workers import Worker, check_workers
from xqg_repro.models.settings import Backend, EncoderConfig, GeneratorConfig, Precision
from xqg_repro.models.translator import TOKENS_PER_BATCH
from xqg_repro.representation import distribute, sums
from xqg_repro.representation.distribute import ShardWorker, model_facts
from xqg_repro.representation.encode import encode
from xqg_repro.representation.generate import generate
from xqg_repro.representation.translate import TranslateWork
from xqg_repro.retrieval.exact import search_embeddings

from .conftest import Few

pytest.importorskip("ray", reason="needs the extra ray: pip install 'xqg_repro[ray]'")

pytestmark = pytest.mark.xdist_group("ray")  # one process, so that Ray is started once

TWO = Distribution(workers=2)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The address of a local Ray with two CPUs, to which this process is connected."""
    import ray

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))  # workers import this module
        ray.init(
            num_cpus=2,
            include_dashboard=False,
            object_store_memory=80 * 2**20,
            log_to_driver=False,
            logging_level="error",
        )
        yield ray.get_runtime_context().gcs_address
        ray.shutdown()


# bytes


def test_workers_write_the_bytes_of_a_local_run(
    few: Few, tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "SECONDS_TO_CHECK", 0.1)  # they answer while they compute
    few.run("encode", tmp_path / "out", distribute=TWO)
    assert contents(tmp_path / "out") == contents(few.output("encode"))
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_workers_write_the_queries_of_a_local_ctranslate2(few: Few, tmp_path: Path, address: str) -> None:
    config = dataclasses.replace(few.generator, backend=Backend.CTRANSLATE2, precision=Precision.INT8)
    for name, distribution in (("out", TWO), ("local", None)):
        settings: dict[str, Any] = {"shard_size": 4, "device": "cpu", "distribute": distribution}
        manifest = generate("few", config, tmp_path / name, **settings)
        assert manifest.parameters["generator"]["backend"] == "ctranslate2"
    assert contents(tmp_path / "out") == contents(tmp_path / "local")


def test_a_translation_survives_the_way_to_a_worker(few: Few, tmp_path: Path) -> None:
    work = pickle.loads(pickle.dumps(TranslateWork(few.translator, ("fi", "ru"), TOKENS_PER_BATCH)))
    worker = ShardWorker(work, "cpu", 2)
    shard = [PlainDocument(*passage) for passage in few.passages[:4]]
    path, expected = tmp_path / "00000.jsonl", few.output("translate") / "00000.jsonl"
    for _ in range(2):  # the second time as after the death of a worker that had finished
        counts, items = worker.run(path, shard)
        assert (items, counts["passages"], counts["translations"]) == (4, 4, 8)
        assert path.read_bytes() == expected.read_bytes()


@dataclasses.dataclass(frozen=True)
class DyingSum(sums.SumWork):
    """Kills its worker, once, while it writes the last file of shard 1."""

    def open(self, device: str | None, progress: Any) -> Any:
        write, sync = super().open(device, progress), os.fsync

        def write_or_die(path: Path, shard: list[Any]) -> Any:
            mark = path.parent.with_name("died")

            def sync_or_die(file: int) -> None:
                if any(path.parent.glob(".00001.npy.*.tmp")) and not mark.exists():
                    mark.touch()
                    os.kill(os.getpid(), signal.SIGKILL)
                sync(file)

            os.fsync = sync_or_die
            return write(path, shard)

        return write_or_die


def test_a_dead_workers_shard_is_written_again(
    few: Few, tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = contents(few.output("sum"))
    monkeypatch.setattr(sums, "SumWork", DyingSum)
    few.run("sum", tmp_path / "out", distribute=TWO)
    assert (tmp_path / "died").exists()
    assert contents(tmp_path / "out") == expected


def test_workers_find_the_passages_of_a_local_search(
    mini_data: Mini, tiny_model: Path, tmp_path: Path, address: str
) -> None:
    embeddings = tmp_path / "embeddings"
    encode(mini_data.docs, EncoderConfig(str(tiny_model)), embeddings, shard_size=3, device="cpu")
    for name, distribution in (("ray.txt", TWO), ("local.txt", None)):
        search_embeddings(embeddings, mini_data.topics, tmp_path / name, depth=7, distribute=distribution)
    assert (tmp_path / "ray.txt").read_bytes() == (tmp_path / "local.txt").read_bytes()


class DyingWorker(Worker):
    """Dies of every task."""

    def __init__(self, threads: int) -> None:
        pass  # needs no torch

    def run(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_task_that_kills_every_worker_is_an_error(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "RESTARTS", 1)
    with (
        pytest.raises(InputError, match=r"a worker died 2 times: .*rerun the same command to resume"),
        cluster.start_workers(DyingWorker, (), Distribution(workers=1)) as actors,
    ):
        list(cluster.run_tasks(actors, [()]))


def test_a_local_run_does_not_import_ray(few: Few, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)  # an import would fail
    few.run("encode", tmp_path / "out")


# the driver dies


def start_driver(address: str, options: str) -> subprocess.Popen:
    command = f"{options} --distribute ray --ray-address {address} --workers 2"
    return subprocess.Popen([sys.executable, "-m", "xqg_repro", *command.split()], stderr=subprocess.PIPE, text=True)


def test_a_killed_driver_resumes(mini_data: Mini, tiny_generator: Path, tmp_path: Path, address: str) -> None:
    config = GeneratorConfig(
        str(tiny_generator), ("fi",), 2, query_max_length=8, backend=Backend.TORCH, precision=Precision.FLOAT32
    )
    options = "--languages fi --queries 2 --query-max-length 8 --backend torch --precision float32 --shard-size 3"
    options += f" --generator {tiny_generator} --output {tmp_path}/out"
    driver = start_driver(address, f"generate --collection {mini_data.docs} {options}")
    partial = tmp_path / "out.partial"
    while driver.poll() is None and len(list(partial.glob("*.jsonl"))) < 2:
        time.sleep(0.01)
    driver.kill()
    driver.wait()
    before = {path.name: path.stat().st_mtime_ns for path in partial.glob("*.jsonl")}
    assert 2 <= len(before) < 20
    settings: dict[str, Any] = {"shard_size": 3, "device": "cpu"}
    generate(mini_data.docs, config, tmp_path / "out", **settings, distribute=TWO)
    generate(mini_data.docs, config, tmp_path / "local", **settings)
    assert contents(tmp_path / "out") == contents(tmp_path / "local")
    after = {name: (tmp_path / "out" / name).stat().st_mtime_ns for name in before}
    assert sum(after[name] == before[name] for name in before) >= 2


def test_a_terminated_driver_says_so(mini_data: Mini, tiny_model: Path, tmp_path: Path, address: str) -> None:
    options = f"--encoder {tiny_model} --pooling cls --output {tmp_path}/out"
    driver = start_driver(address, f"encode --collection {mini_data.docs} {options}")
    assert driver.stderr
    messages = [driver.stderr.readline()]
    while "Ray started 2 workers on" not in messages[-1]:
        assert messages[-1]
        messages.append(driver.stderr.readline())
    driver.terminate()
    messages += driver.stderr.readlines()
    assert driver.wait() == -signal.SIGTERM
    assert messages[-1] == "xqg-repro: terminated; rerun the same command to resume\n"


# errors


def test_an_error_of_a_worker_is_that_of_a_local_run(
    mini_data: Mini, tiny_model: Path, tmp_path: Path, address: str, capfd: pytest.CaptureFixture[str]
) -> None:
    command = f"encode --collection xor-tydi --encoder {tiny_model} --pooling cls --passage-max-length 9999"
    command += f" --output {tmp_path}/out"
    lines = []
    for more in ("", " --distribute ray --workers 1"):
        assert cli.main((command + more).split()) == 2
        lines.append([line for line in capfd.readouterr().err.splitlines() if line.startswith("xqg-repro: ")])
        assert list(tmp_path.iterdir()) == []
    assert lines[0] == lines[1] and len(lines[0]) == 1


@pytest.fixture(scope="module")
def worker(address: str) -> Any:
    import ray

    return ray.remote(Worker).options(num_cpus=0).remote(2)


@pytest.mark.parametrize("what", ["folder", "version of xqg_repro", "model"])
def test_a_worker_that_differs_from_the_driver_is_named(
    tiny_model: Path, tmp_path: Path, worker: Any, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    facts = partial(model_facts, str(tiny_model))
    check_workers([worker], tmp_path, facts)
    folder, theirs, mine = tmp_path, r"[\w.]+", "another"
    low = os.open(tmp_path, os.O_RDONLY)
    descriptor = fcntl.fcntl(low, fcntl.F_DUPFD, 1000)  # a number that no worker has
    os.close(low)
    if what == "folder":
        folder, theirs, mine = Path(f"/proc/self/fd/{descriptor}"), "not visible", "writable"
    elif what == "model":
        monkeypatch.setattr(distribute, "model_fingerprint", lambda model: "another")
    else:
        monkeypatch.setattr(workers, "__version__", "another")
    message = rf"the {what}.* is {theirs} for the worker on .+, but {mine} for the driver"
    with pytest.raises(InputError, match=message):
        check_workers([worker], folder, facts)
    os.close(descriptor)


def test_workers_without_room_are_not_waited_for_forever(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "SECONDS_TO_START", 0.1)
    with (
        pytest.raises(InputError, match=r"only 0 of 1 workers started within 0 s \(lower --workers"),
        cluster.start_workers(Worker, (), Distribution(workers=1, gpus_per_worker=1)),
    ):
        pass


def test_a_shard_that_the_driver_does_not_see_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distribute, "SECONDS_TO_APPEAR", -1)
    (tmp_path / "00000.npy").touch()
    distribute._wait_for(tmp_path, {"00000.npy"})
    with pytest.raises(InputError, match=r"lacks 00001.npy, which a worker has written"):
        distribute._wait_for(tmp_path, {"00000.npy", "00001.npy"})


def test_an_address_where_nothing_listens_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with (
        pytest.raises(InputError, match=r"cannot use the Ray cluster 127.0.0.1:9: .*refused"),
        cluster.start_workers(ShardWorker, (), Distribution("127.0.0.1:9")),
    ):
        pass


def test_the_precision_of_unknown_gpus_is_asked_for(few: Few, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    config = dataclasses.replace(few.generator, precision=None)
    with pytest.raises(InputError, match=r"precision of the workers is not known \(use --precision"):
        generate("few", config, tmp_path / "out", distribute=Distribution(gpus_per_worker=1))


def test_the_command_passes_the_settings_on(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    module = importlib.import_module("xqg_repro.representation.encode")
    monkeypatch.setattr(module, "encode", lambda *args, **options: calls.append(options["distribute"]))
    command = "encode --collection xor-mini --preset xdr-mini --output o --distribute ray"
    for more in ("", " --ray-address auto --workers 3 --gpus-per-worker 0.5"):
        assert cli.main((command + more).split()) == 0
    assert calls == [Distribution(), Distribution("auto", 3, 0.5)]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ("--workers 2", "--workers needs a cluster (add --distribute ray)"),
        ("--gpus-per-worker 0", "--gpus-per-worker needs a cluster"),
        ("--distribute ray --device cpu", "--device is of this machine"),
        ("--distribute ray --workers 0", "cannot compute with 0 workers"),
        ("--distribute ray --workers -1", "cannot compute with -1 workers"),
        ("--distribute ray --gpus-per-worker 1.5", "a worker cannot have 1.5 GPUs"),
        ("--distribute ray --gpus-per-worker nan", "a worker cannot have nan GPUs"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    options: str, problem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = f"encode --collection xor-mini --preset xdr-mini --output {tmp_path}/out {options}"
    assert cli.main(command.split()) == 2
    assert problem in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "threads", "nodes", "expected"),
    [
        (Distribution(), 4, [{"CPU": 2}], (1, 0.1)),
        (Distribution(workers=3), 4, [{"CPU": 4}, {"CPU": 2}], (3, 0.1)),
        (Distribution(gpus_per_worker=0.1), 1, [{"CPU": 12, "GPU": 1}], (10, 0.1)),
        (Distribution(gpus_per_worker=2), 8, [{"CPU": 8, "GPU": 4}, {"CPU": 8, "GPU": 1}], (2, 0.1)),
        (Distribution(workers=2, gpus_per_worker=1), 8, [{"CPU": 8}], (2, 0.1)),
    ],
)
def test_workers_fit_the_cluster(
    settings: Distribution, threads: int, nodes: list[dict[str, float]], expected: tuple[int, float]
) -> None:
    assert cluster.plan_workers(settings, threads, nodes) == expected


def test_a_cluster_without_gpus_is_refused() -> None:
    with pytest.raises(InputError, match="no machine of the Ray cluster has 1 GPUs"):
        cluster.plan_workers(Distribution(gpus_per_worker=1), 4, [{"CPU": 4}])


def test_without_ray_the_error_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"Ray is not installed \(run: pip install 'xqg_repro\[ray\]'"):
        Distribution()
