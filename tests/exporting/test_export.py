"""`diptych export`, from a run to a folder that another library opens; its card, its refusals, and the hub."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import onnxruntime
import pytest
import torch
import yaml
from clips import clip
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError

from diptych.cli import main
from diptych.exporting import CannotExport, export, push
from diptych.models import Towers, checkpoint, dual_encoder, save
from diptych.scoring import Dot
from diptych.training.run import reference_inputs

SMALL = ["--image-size", "24", "--width", "16", "--vocab-size", "300", "--max-length", "16", "--batch-size", "24"]


def run(*words: str | Path) -> int:
    return main([str(word) for word in words])


@pytest.fixture(scope="module")
def trained(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("export") / "colours"
    assert run("train", shapes, "--out", out, "--epochs", "2", "--precision", "float32", *SMALL) == 0
    return out


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP's checkpoint."""
    folder = tmp_path_factory.mktemp("clips") / "mine"
    model = clip()
    save(model, folder, reference=reference_inputs(model))
    return folder


def head_of(card: str) -> dict:
    return yaml.safe_load(card.split("---")[1])


def test_a_run_goes_out_as_a_checkpoint_with_its_measurements(trained: Path, shapes: Path, tmp_path: Path, capsys):
    out = tmp_path / "out"
    assert run("export", trained, "--to", "safetensors", "--out", out) == 0
    assert "was not run on this checkpoint" in (out / "README.md").read_text()
    assert run("evaluate", trained, shapes) == 0
    assert run("export", trained, "--to", "safetensors", "--out", out) == 2
    assert "is not empty; choose another --out, or --overwrite it" in capsys.readouterr().err
    assert run("export", trained, "--to", "safetensors", "--out", out, "--overwrite") == 0
    assert {p.name for p in out.iterdir()} == {"README.md", "model.json", "model.safetensors", "reference.safetensors"}
    for name in ("model.json", "model.safetensors", "reference.safetensors"):
        assert (out / name).read_bytes() == (trained / "model" / name).read_bytes()
    checkpoint.load(out)  # compares the reference vectors
    card, numbers = (out / "README.md").read_text(), json.loads((trained / "evaluation.json").read_text())
    assert head_of(card)["library_name"] == "diptych" and "\n# colours\n" in card
    assert head_of(card)["pipeline_tag"] == "zero-shot-image-classification" and "license" not in head_of(card)
    assert numbers["checkpoint"] in card and "- recipe: clip" in card and '"image_size": 24' in card
    assert f"split test: a gallery of {numbers['gallery']} images and {numbers['texts']} texts" in card
    row = f"| recall@1 | {numbers['t2i_recall@1']:.4g} | {numbers['i2t_recall@1']:.4g} |"
    assert row in card


def test_measurements_of_another_checkpoint_are_not_claimed(trained: Path, tmp_path: Path):
    moved = tmp_path / "run"
    (moved / "model").mkdir(parents=True)
    for file in (trained / "model").iterdir():
        (moved / "model" / file.name).write_bytes(file.read_bytes())
    (moved / "evaluation.json").write_text(json.dumps({"checkpoint": "0" * 32, "t2i_recall@1": 0.99}))
    export(moved, tmp_path / "out", to="safetensors")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "0.99" not in card and "was not run on this checkpoint" in card


@pytest.mark.parametrize("target", ["hf", "open_clip"])
def test_a_run_that_a_target_cannot_take_leaves_nothing(trained: Path, target: str, tmp_path: Path, capsys):
    assert run("export", trained, "--to", target, "--out", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert "image tower is a ConvNet" in error and "--to onnx and safetensors" in error
    assert list(tmp_path.iterdir()) == []


def test_what_was_there_survives_an_export_that_fails(trained: Path, tmp_path: Path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("kept")
    with pytest.raises(ValueError, match="holds no exported model"):
        export(trained, tmp_path / "out", to="safetensors", overwrite=True)
    (tmp_path / "out" / "model.json").write_text("an earlier export")
    with pytest.raises(CannotExport):
        export(trained, tmp_path / "out", to="hf", overwrite=True)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["mine.txt", "model.json", "out"]


def test_a_clip_goes_to_open_clip_and_comes_back(kept: Path, tmp_path: Path, capsys):
    assert run("export", kept, "--to", "open_clip", "--out", tmp_path / "out") == 0
    said = capsys.readouterr()
    assert "the model is in" in said.err + said.out
    card = (tmp_path / "out" / "README.md").read_text()
    assert head_of(card)["library_name"] == "open_clip" and "create_model_and_transforms" in card
    assert "It was not trained with Diptych" in card and "\n# mine\n" in card


def test_a_run_goes_out_as_graphs(trained: Path, tmp_path: Path):
    assert run("export", trained, "--to", "onnx", "--out", tmp_path / "out") == 0
    files = {"README.md", "image.onnx", "text.onnx", "onnx.json", "tokenizer.json"}
    assert {p.name for p in (tmp_path / "out").iterdir()} == files
    facts, model = json.loads((tmp_path / "out" / "onnx.json").read_text()), checkpoint.load(trained / "model")
    inputs = model.processors["text"](["a red circle", "one square, and much more than that"])
    session = onnxruntime.InferenceSession(tmp_path / "out" / facts["towers"]["text"]["file"])
    got = session.run(None, {name: x.numpy() for name, x in inputs.items()})[0]
    expected = model.encode("text", inputs).dense
    torch.testing.assert_close(torch.as_tensor(got), expected, rtol=0, atol=1e-5)  # float32 sums in another order
    assert "onnxruntime.InferenceSession" in (tmp_path / "out" / "README.md").read_text()


def test_notes_are_in_the_card(tmp_path: Path):
    model = clip(resize="crop")
    save(model, tmp_path / "model", reference=reference_inputs(model))
    done = export(tmp_path / "model", tmp_path / "out", to="hf")
    assert len(done.notes) == 1 and "cut first" in done.notes[0]
    assert f"- {done.notes[0]}\n" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere", "--to", "hf"], "nowhere holds no run"),
        (["UNFINISHED", "--to", "hf"], "is not finished"),
        (["RUN", "--to", "safetensors", "--out", "RUN/model", "--overwrite"], "holds the model itself"),
        (["open_clip:ViT-B-23", "--to", "open_clip"], "no architecture 'ViT-B-23'; near it: ViT-B-32"),
        (["RUN", "--to", "safetensors", "--out", "RUN/run.json"], "is a file; --out is the folder to write"),
    ],
)
def test_what_is_wrong_is_said(words: list[str], message: str, trained: Path, tmp_path: Path, capsys):
    (tmp_path / "unfinished").mkdir()
    (tmp_path / "unfinished" / "run.json").write_text("{}")
    words = [word.replace("RUN", str(trained)).replace("UNFINISHED", str(tmp_path / "unfinished")) for word in words]
    assert run("export", *words, *([] if "--out" in words else ["--out", tmp_path / "out"])) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


class Hub:
    """The hub's two calls, kept."""

    def __init__(self, error: Exception | None = None) -> None:
        self.calls: list[tuple] = []
        self.error = error

    def create_repo(self, name: str, *, repo_type: str, private: bool, exist_ok: bool) -> str:
        if self.error:
            raise self.error
        self.calls.append((name, repo_type, private, exist_ok))
        return f"https://huggingface.co/{name}"

    def upload_folder(self, *, repo_id: str, folder_path: Path, commit_message: str) -> None:
        self.calls.append((repo_id, sorted(p.name for p in Path(folder_path).iterdir()), commit_message))


def test_push_to_hub_uploads_the_whole_folder(kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    hub = Hub()
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: hub)
    words = ["export", kept, "--to", "safetensors", "--out", tmp_path / "out", "--push-to-hub", "me/mine"]
    assert run(*words) == 0
    files = ["README.md", "model.json", "model.safetensors", "reference.safetensors"]
    assert hub.calls == [("me/mine", "model", True, True), ("me/mine", files, "Exported by Diptych")]
    said = capsys.readouterr()
    assert "https://huggingface.co/me/mine" in said.out + said.err
    assert run(*words, "--overwrite", "--public") == 0
    assert hub.calls[2] == ("me/mine", "model", False, True)


def refused(message: str) -> HfHubHTTPError:
    error = HfHubHTTPError.__new__(HfHubHTTPError)
    Exception.__init__(error, message)
    error.response = SimpleNamespace(status_code=403)  # type: ignore[assignment]
    return error


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            refused("403 Forbidden\nmore"),
            r"the hub refused it; is the token one that may write there\? \(403 Forbidden\)",
        ),
        (LocalTokenNotFoundError("no token"), r"nobody is logged in: run `hf auth login` first"),
        (huggingface_hub.errors.HTTPError("Name or service not known"), r"the hub cannot be reached \(Name or service"),
        (TimeoutError("timed out"), r"the hub cannot be reached \(timed out\)"),
    ],
)
def test_a_push_that_fails_says_why_and_that_the_model_is_whole(error: Exception, message: str, tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: Hub(error))
    with pytest.raises(ConnectionError, match=message + r".*The model is whole in .*`hf upload me/mine"):
        push(tmp_path, "me/mine")


def test_a_name_that_the_hub_does_not_take_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: Hub(HFValidationError("no spaces")))
    with pytest.raises(ValueError, match=r"--push-to-hub my model: expected ORGANISATION/NAME \(no spaces\)"):
        push(tmp_path, "my model")


def test_what_holds_the_model_is_not_replaced(tmp_path: Path):
    model = dual_encoder(Towers(image_size=16, width=8, vocab_size=300, patch=4), parts={"dot": Dot()})
    model.processors["text"].fit(["a dog"])
    save(model, tmp_path / "runs" / "x" / "model", reference=reference_inputs(model))
    (tmp_path / "runs" / "letters").mkdir()
    for out in (tmp_path / "runs", tmp_path / "runs" / "x", tmp_path / "runs" / "x" / "model"):
        with pytest.raises(ValueError, match="holds "):
            export(tmp_path / "runs" / "x", out, to="safetensors", overwrite=True)
    assert (tmp_path / "runs" / "letters").exists() and (tmp_path / "runs" / "x" / "model" / "model.json").exists()
