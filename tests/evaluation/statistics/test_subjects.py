from cmrgz.evaluation.statistics.subjects import caveats, paired


def test_pairs_are_of_subjects_that_have_both() -> None:
    names, values = paired({"c": 3.0, "a": 1.0, "b": float("nan")}, {"a": 2.0, "b": 5.0, "c": 7.0, "d": 9.0})
    assert names == ("a", "c") and values.tolist() == [[1.0, 2.0], [3.0, 7.0]]
    assert paired({"a": 1.0}, {"b": 1.0})[1].shape == (0, 2)


def test_few_subjects_and_single_trainings_are_said() -> None:
    assert caveats(8) == (
        "descriptive only: 8 subjects, fewer than 30",
        "1 training run: conclusions are about these checkpoints",
    )
    assert len(caveats(30)) == 1
