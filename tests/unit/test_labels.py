import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from training.labels import DELETE, INSERT, KEEP, SUBSTITUTE, EditLabels, apply, label_edits

END, MASK = 90, 91
LETTERS = {KEEP: "k", SUBSTITUTE: "s", DELETE: "d", INSERT: "i"}


def ids(text):
    """Letters are tokens, `.` is the end of the hole and its padding, `_` is MASK."""
    return [{".": END, "_": MASK}.get(letter, ord(letter) - ord("a")) for letter in text]


def text(tokens):
    return "".join({END: ".", MASK: "_"}.get(token, chr(token + ord("a"))) for token in tokens)


def label(draft, target):
    return label_edits(
        torch.tensor([ids(draft)]), torch.tensor([ids(target)]), end_id=END, mask_id=MASK
    )


def operations(labels):
    return "".join(LETTERS[operation] for operation in labels.operation_NL[0].tolist())


def after(labels, fill_id=END):
    return text(apply(labels, mask_id=MASK, fill_id=fill_id)[0].tolist())


def lcs_length(a, b):
    """Textbook dynamic programming, the reference."""
    row = [0] * (len(b) + 1)
    for x in a:
        diagonal = 0
        for j, y in enumerate(b):
            diagonal, row[j + 1] = (
                row[j + 1],
                max(row[j + 1], row[j], diagonal + 1 if x == y else 0),
            )
    return row[-1]


@pytest.mark.parametrize(
    ("draft", "target", "expected", "result"),
    [
        ("abcd", "abcd", "kkkk", "abcd"),
        ("axcd", "abcd", "kskk", "abcd"),
        ("abxcd", "abcd.", "kkdkk", "abcd."),
        ("abd..", "abcd.", "kkikd", "ab_d."),
        ("ab..", "abcd", "kkss", "abcd"),
        ("abcd", "ab..", "kkdd", "ab.."),
        ("abcd", "zabc", "ikkd", "_abc"),
        ("aqrs", "ab..", "ksdd", "ab.."),
        ("ab..", "abc.", "kksk", "abc."),
        ("abc..", "ac...", "kdkkk", "ac..."),
        ("axbc", "apqb", "ksid", "ap_b"),
        ("ad....", "abcd..", "kikkdd", "a_d..."),
        ("ab__", "ab..", "kkss", "ab.."),
        ("a_bc", "abc.", "kdkk", "abc."),
        ("a_cd", "abcd", "kskk", "abcd"),
        ("....", "ab..", "sskk", "ab.."),
        ("pacq", "aacq", "skkk", "aacq"),
        ("a", "b", "s", "b"),
    ],
)
def test_examples(draft, target, expected, result):
    labels = label(draft, target)
    assert operations(labels) == expected
    assert after(labels) == result


def test_free_slots_can_be_masked():
    assert after(label("abbc", "abcd"), fill_id=MASK) == "abc_"


def test_a_block_of_inserts_is_cut_at_its_end():
    labels = EditLabels(torch.full((1, 3), INSERT), torch.tensor([ids("abc")]))
    assert after(labels) == "_a_"


def test_a_block_of_deletions_is_all_padding():
    labels = EditLabels(torch.full((1, 3), DELETE), torch.tensor([ids("abc")]))
    assert after(labels) == "..."


def test_targets_name_the_operation_or_the_token():
    labels = label("axbc", "apqb")
    assert labels.targets(delete_id=95, insert_id=96).tolist() == [[*ids("ap"), 96, 95]]


@st.composite
def blocks(draw, max_count=4):
    num_slots = draw(st.integers(1, 9))
    count = draw(st.integers(1, max_count))

    def block(alphabet):
        content = draw(st.lists(st.sampled_from(alphabet), max_size=num_slots))
        return content + [END] * (num_slots - len(content))

    # Few different tokens, so that common subsequences are many and tied.
    drafts = [block([0, 1, 2, 3, MASK, END]) for _ in range(count)]
    targets = [block([0, 1, 2, 3]) for _ in range(count)]
    return torch.tensor(drafts), torch.tensor(targets)


@given(blocks())
def test_kept_slots_are_a_longest_common_subsequence(pair):
    draft_NL, target_NL = pair
    labels = label_edits(draft_NL, target_NL, end_id=END, mask_id=MASK)
    is_kept_NL = (labels.operation_NL == KEEP) | (labels.operation_NL == INSERT)
    for draft_L, target_L, is_kept_L in zip(draft_NL, target_NL, is_kept_NL, strict=True):
        kept, target = draft_L[is_kept_L].tolist(), target_L.tolist()
        assert len(kept) == lcs_length(draft_L.tolist(), target)
        rest = iter(target)
        assert all(token in rest for token in kept), "kept tokens are a subsequence of the target"


@given(blocks())
def test_labels_touch_what_they_name_and_nothing_else(pair):
    draft_NL, target_NL = pair
    labels = label_edits(draft_NL, target_NL, end_id=END, mask_id=MASK)
    assert labels.operation_NL.shape == labels.token_NL.shape == draft_NL.shape
    is_substituted_NL = labels.operation_NL == SUBSTITUTE
    assert torch.equal(labels.token_NL[~is_substituted_NL], draft_NL[~is_substituted_NL])
    assert (labels.token_NL[is_substituted_NL] != MASK).all()
    is_settled_N = draft_NL[:, 0] == target_NL[:, 0]
    # An AR token in slot 0 that is right stays, whatever follows.
    assert (labels.operation_NL[is_settled_N, 0] == KEEP).all()


@settings(max_examples=300)
@given(blocks(), st.sampled_from([END, MASK]))
def test_rounds_of_labels_reach_the_target(pair, fill_id):
    block_NL, target_NL = pair
    for _ in range(2 * block_NL.shape[1]):
        if torch.equal(block_NL, target_NL):
            break
        labels = label_edits(block_NL, target_NL, end_id=END, mask_id=MASK)
        block_NL = apply(labels, mask_id=MASK, fill_id=fill_id)
    assert torch.equal(block_NL, target_NL)


@given(blocks(max_count=1))
def test_the_target_itself_is_kept_whole(pair):
    _, target_NL = pair
    labels = label_edits(target_NL, target_NL, end_id=END, mask_id=MASK)
    assert (labels.operation_NL == KEEP).all()
    assert torch.equal(apply(labels, mask_id=MASK, fill_id=END), target_NL)


@given(blocks())
def test_blocks_do_not_influence_each_other(pair):
    draft_NL, target_NL = pair
    together = label_edits(draft_NL, target_NL, end_id=END, mask_id=MASK)
    for n in range(len(draft_NL)):
        alone = label_edits(draft_NL[n : n + 1], target_NL[n : n + 1], end_id=END, mask_id=MASK)
        assert torch.equal(alone.operation_NL[0], together.operation_NL[n])
        assert torch.equal(alone.token_NL[0], together.token_NL[n])
