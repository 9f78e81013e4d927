"""The issue type in the real CleanVision: its `Imagelab` finds and runs the manager."""

from __future__ import annotations

import pytest

cleanvision = pytest.importorskip("cleanvision")


def test_imagelab_finds_the_pictures_that_score_low(integration, files, expected, middle):
    integration("cleanvision_issue")
    lab = cleanvision.Imagelab(filepaths=files[:-1])
    assert "low_quality" in lab.list_possible_issue_types()
    lab.find_issues({"low_quality": {"at_least": middle}, "dark": {}}, n_jobs=1)
    scores = lab.issues["low_quality_score"].reindex(files[:-1]) * 4 + 1
    assert scores.tolist() == pytest.approx(expected[:-1], abs=1e-3)
    found = set(lab.issues.index[lab.issues["is_low_quality_issue"]])
    assert found == {f for f, score in zip(files, expected[:-1], strict=False) if score < middle}
    assert lab.issue_summary.set_index("issue_type").num_images["low_quality"] == 3
    lab.report(["low_quality"], max_prevalence=1.0, verbosity=1)


def test_a_parameter_that_it_does_not_have_is_refused(integration, files):
    integration("cleanvision_issue")
    lab = cleanvision.Imagelab(filepaths=files[:1])
    with pytest.raises(ValueError, match="takes at_least, model, not threshold"):
        lab.find_issues({"low_quality": {"threshold": 0.3}}, n_jobs=1)


def test_what_cannot_be_read_has_no_score(integration, files):
    datasets = pytest.importorskip("datasets")
    integration("cleanvision_issue")
    pictures = datasets.Dataset.from_dict({"image": [files[0], files[-1]]})
    pictures = pictures.cast_column("image", datasets.Image())
    lab = cleanvision.Imagelab(hf_dataset=pictures, image_key="image")
    lab.find_issues({"low_quality": {"at_least": 5.0}}, n_jobs=1)
    assert lab.issues["low_quality_score"].isna().tolist() == [False, True]
    assert lab.issues["is_low_quality_issue"].tolist() == [True, False]
