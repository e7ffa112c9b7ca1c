"""States, CKA, principal directions and Fisher information against plain transformers, numpy and hand-worked cases."""

import itertools

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

import dissect
from dissect.data.facts import Fact, Facts
from dissect.errors import DissectError, Undefined
from dissect.measures.examined import Examined, Settings
from dissect.measures.measure import get
from dissect.measures.representation.cka import biased_cka, debiased_cka, gram, hsic
from dissect.measures.representation.examined_states import beside_base
from dissect.measures.representation.fisher import squared_gradients
from dissect.measures.representation.pca_shift import first_direction, shifts, similarity
from dissect.reading.residual_states import drawn, mask_of, states
from dissect.statistics.jackknife import groups_of, jackknife

FACTS = Facts(
    Fact(question=f"Where was {name} born?", answer=f"{place}, by the sea.")
    for name, place in zip(
        ("Ada Lovelace", "Basil", "Lily", "Once", "the little girl", "He"),
        ("In London", "Paris", "France", "a baker", "upon a time", "old houses"),
        strict=True,
    )
)
BODY = {"llama": ("model.layers.{l}", "self_attn", "mlp"), "gpt2": ("transformer.h.{l}", "attn", "mlp")}


def pair(directories, facts: Facts = FACTS, *, options=None, dtype: str = "float32") -> tuple[Examined, Examined]:
    made = [
        Examined(
            dissect.load(path, dtype=dtype, progress=False),
            {"forget": facts},
            name=name,
            settings=Settings(batch_size=4, options=options or {}),
        )
        for name, path in zip(("base", "unlearned"), directories, strict=True)
    ]
    for examined in made:
        examined.attach(base=made[0], retrained=None)
    return made[0], made[1]


@pytest.mark.parametrize("architecture", BODY)
@pytest.mark.parametrize("positions", ["last_prompt", "predicting", "answer", "first"])
@torch.no_grad()
def test_states_are_the_outputs_of_plain_layers(architecture: str, positions, tiny_pair):
    directory = tiny_pair(architecture)[0]
    model = dissect.load(directory, progress=False)
    prompts = FACTS.prompts(model, progress=False)
    found = states(model, prompts, mask_of(prompts, positions), batch_size=4)
    plain = AutoModelForCausalLM.from_pretrained(directory).eval()
    kept: dict[int, torch.Tensor] = {}

    def keep(layer: int):
        return lambda module, args, out: kept.update({layer: out[0] if isinstance(out, tuple) else out})

    for layer in range(3):
        plain.get_submodule(BODY[architecture][0].format(l=layer)).register_forward_hook(keep(layer))
    expected: list[list[torch.Tensor]] = [[], [], []]
    rows = []
    for i in range(len(prompts)):  # one by one, without padding
        n, start = int(prompts.lengths[i]), int(prompts.prompt_lengths[i])
        plain(prompts.tokens[i : i + 1, :n])
        stop = start + int(prompts.answer_lengths[i])
        places = {"last_prompt": [start - 1], "first": [0], "answer": range(start, stop)}
        places["predicting"] = range(start - 1, stop - 1)
        rows += [i] * len(places[positions])
        for layer in range(3):
            expected[layer] += [kept[layer].reshape(n, -1)[place] for place in places[positions]]
    assert found.row.tolist() == rows and found.n_layers == 3
    for layer in range(3):
        np.testing.assert_allclose(found.values[layer], torch.stack(expected[layer]).numpy(), atol=2e-5)


def test_facts_are_drawn_whole_and_alike_for_everybody(tiny_pair):
    counts = np.array([5, 4, 3, 2, 1])
    assert drawn(counts, None, seed=0).tolist() == drawn(counts, 15, seed=0).tolist() == [0, 1, 2, 3, 4]
    some = drawn(counts, 9, seed=0)
    assert 0 < counts[some].sum() <= 9 and some.tolist() == sorted(some) == drawn(counts, 9, seed=0).tolist()
    base, unlearned = pair(tiny_pair("llama"))
    one, other = beside_base(unlearned, "answer", max_tokens=20)
    assert 0 < len(one.row) <= 20 and one.row.tolist() == other.row.tolist()
    whole = beside_base(base, "answer")[0]
    for fact in np.unique(one.row):
        np.testing.assert_allclose(one.values[:, one.row == fact], whole.values[:, whole.row == fact], atol=1e-5)


def naive_hsic(k: np.ndarray, m: np.ndarray) -> float:
    """Song et al. 2012, equation 4: averages over pairs, triples and quadruples of different items."""
    n = len(k)
    pairs = [k[i, j] * m[i, j] for i, j in itertools.permutations(range(n), 2)]
    triples = [k[i, j] * m[i, q] for i, j, q in itertools.permutations(range(n), 3)]
    quadruples = [k[i, j] * m[q, r] for i, j, q, r in itertools.permutations(range(n), 4)]
    return float(np.mean(pairs) - 2 * np.mean(triples) + np.mean(quadruples))


def naive_cka(x: np.ndarray, y: np.ndarray) -> float:
    k, m = x @ x.T, y @ y.T  # not centred: the estimator does not mind
    return naive_hsic(k, m) / np.sqrt(naive_hsic(k, k) * naive_hsic(m, m))


def gaussians(n: int, d: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d)) + 2.0


def test_debiased_cka_is_the_average_over_different_items_also_without_some():
    x, y = gaussians(9, 4, 0), gaussians(9, 3, 1)
    y[:, 0] += x[:, 0]
    groups = np.array([0, 0, 1, 2, 2, 2, 3, 3, 3])
    value, without = debiased_cka(x, y, groups)
    assert value == pytest.approx(naive_cka(x, y), rel=1e-9)
    for group in range(4):
        kept = groups != group
        assert without[group] == pytest.approx(naive_cka(x[kept], y[kept]), rel=1e-9)
    k, m = gram(x), gram(y)
    assert hsic(k, m, groups)[0] == pytest.approx(naive_hsic(k, m), rel=1e-9)


def test_unrelated_states_have_a_debiased_cka_around_zero_and_a_biased_one_far_above():
    values = [(debiased_cka(x, y, np.arange(60))[0], biased_cka(x, y)) for x, y in _unrelated(40)]
    debiased, biased = np.array(values).T
    assert abs(debiased.mean()) < 3 * debiased.std() / np.sqrt(40) < 0.03
    assert biased.min() > 0.5


def _unrelated(times: int) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(gaussians(60, 80, 2 * i), gaussians(60, 80, 2 * i + 1)) for i in range(times)]


@pytest.mark.parametrize("kind", ["debiased", "biased"])
def test_cka_does_not_see_turns_scale_or_shift(kind: str):
    def of(a: np.ndarray, b: np.ndarray) -> float:
        return debiased_cka(a, b, np.arange(len(a)))[0] if kind == "debiased" else biased_cka(a, b)

    x, y = gaussians(30, 6, 0), gaussians(30, 6, 1) ** 3
    y += x @ gaussians(6, 6, 2)
    turn = np.linalg.qr(gaussians(6, 6, 3))[0]
    assert of(x, x) == pytest.approx(1) and of(x, 3 * x @ turn + 1) == pytest.approx(1)
    assert 0.05 < of(x, y) < 0.95
    assert of(x, 0.1 * y @ turn - 5) == pytest.approx(of(x, y)) == pytest.approx(of(y, x))
    stretched = y * [1, 1, 1, 1, 1, 40.0]
    assert abs(of(x, stretched) - of(x, y)) > 0.01  # but it does see what is no rotation
    constant = np.tile(y[0], (30, 1))
    assert np.isnan(of(x, constant)) and np.isnan(of(constant, constant))


def test_biased_cka_by_hand():
    # centred (-1, 0, 1) and (1, -2, 1): their product is 0. (-1, 0, 1) and (-1, -1, 2): 3² / (2 · 6)
    x = np.array([[0.0], [1.0], [2.0]])
    assert biased_cka(x, np.array([[1.0], [-2.0], [1.0]])) == pytest.approx(0)
    assert biased_cka(x, np.array([[0.0], [0.0], [3.0]])) == pytest.approx(9 / 12)


def test_cka_of_checkpoints(tiny_pair):
    base, unlearned = pair(tiny_pair("llama"))
    assert [e.value for e in get("cka").compute(base)] == pytest.approx([1.0] * 6)
    found = get("cka").compute(unlearned)
    assert [(e.at["positions"], e.at["layer"]) for e in found] == [
        (where, layer) for where in ("answer", "predicting") for layer in range(3)
    ]
    prompts = unlearned.prompts
    for estimate in found:
        mask = mask_of(prompts, estimate.at["positions"])
        x, y = (states(one.model, prompts, mask).layer(estimate.at["layer"]) for one in (base, unlearned))
        centred_x, centred_y = x - x.mean(0), y - y.mean(0)
        n = len(x)
        # U-centred Gram matrices (Székely and Rizzo 2014): another way to the same number
        u = [_u_centred(c @ c.T) for c in (centred_x, centred_y)]
        expected = (u[0] * u[1]).sum() / np.sqrt((u[0] ** 2).sum() * (u[1] ** 2).sum())
        assert estimate.value == pytest.approx(expected, abs=1e-6) and estimate.n == n == int(mask.sum())
        assert -1 <= estimate.low <= estimate.value <= estimate.high <= 1


def _u_centred(k: np.ndarray) -> np.ndarray:
    k = k - np.diag(np.diag(k))
    n = len(k)
    rows = k.sum(1, keepdims=True)
    centred = k - rows / (n - 2) - rows.T / (n - 2) + k.sum() / ((n - 1) * (n - 2))
    return centred - np.diag(np.diag(centred))


def test_published_cka_is_that_of_first_tokens_and_zero_over_zero_where_all_are_one(tiny_pair):
    with pytest.raises(Undefined, match=r"always the same one \('<s>'\).*0/0"):
        get("cka").compute(pair(tiny_pair("llama"), options={"cka.published": True})[1])
    starts = Facts(Fact(prompt=word, completion=" baker by the sea.") for word in ("Lily", "Basil", "Ada", "He", "In"))
    base, unlearned = pair(tiny_pair("gpt2"), starts, options={"cka.published": True})
    found = get("cka").compute(unlearned)
    assert [e.n for e in found] == [5, 5, 5] and all(e.at["positions"] == "first" for e in found)
    tokens = unlearned.prompts.tokens[:, :1]
    for layer in range(3):
        name = f"blocks.{layer}.hook_resid_post"
        x, y = (one.model.run_with_cache(tokens)[1][name][:, 0].detach().numpy() for one in (base, unlearned))
        x, y = x - x.mean(0), y - y.mean(0)
        scale = np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)
        assert found[layer].value == pytest.approx(np.linalg.norm(y.T @ x) ** 2 / scale, rel=1e-3)
    right = get("cka").compute(pair(tiny_pair("gpt2"), starts)[1])
    assert {e.at["positions"] for e in right} == {"answer", "predicting"}


def test_what_cannot_be_compared_is_refused(tiny_pair):
    base, unlearned = pair(tiny_pair("llama"))
    few = Examined(base.model, {"forget": FACTS[:1]}, name="few")
    few.attach(base=few, retrained=None)
    with pytest.raises(Undefined, match="it needs 20 tokens to compare"):
        get("cka").compute(few)
    unlearned.attach(base=None, retrained=None)
    for name in ("cka", "pca_similarity", "pca_shift", "fisher_ratio"):
        with pytest.raises(Undefined, match="pass base="):
            get(name).compute(unlearned)
    other = Examined(dissect.load(tiny_pair("gpt2")[0], progress=False), {"forget": FACTS}, name="gpt2")
    other.attach(base=base, retrained=None)
    with pytest.raises(Undefined, match="tokenise the facts differently"):
        get("cka").compute(other)
    strange = pair(tiny_pair("llama"), options={"cka.max_tokens": "2"})[1]
    with pytest.raises(DissectError, match="whole number of at least 1, got '2'"):
        get("cka").compute(strange)


def test_jackknife_of_a_mean_is_the_t_interval():
    values = np.random.default_rng(0).normal(size=12)
    without = np.array([np.delete(values, i).mean() for i in range(12)])
    low, high = jackknife(float(values.mean()), without)
    reach = 2.200985 * values.std(ddof=1) / np.sqrt(12)  # t of 11 degrees of freedom
    assert (low, high) == pytest.approx((values.mean() - reach, values.mean() + reach), rel=1e-5)
    assert jackknife(0.99, without, highest=1.0)[1] <= 1.0
    assert np.isnan(jackknife(1.0, np.array([1.0]))).all()


def test_items_of_a_fact_are_left_out_together():
    row = np.array([3, 3, 5, 7, 7, 9])
    assert sorted(set(groups_of(row).tolist())) == [0, 1, 2, 3]
    few = groups_of(row, n_groups=2)
    assert few[0] == few[1] and few[3] == few[4] and sorted(set(few.tolist())) == [0, 1]


@pytest.mark.parametrize(("n", "d"), [(50, 6), (12, 40)])
def test_first_direction_is_that_of_the_singular_vectors(n: int, d: int):
    x = gaussians(n, d, 0) * np.linspace(3, 1, d)
    expected = np.linalg.svd(x - x.mean(0))[2][0]
    found = first_direction(x)
    assert abs(found @ expected) == pytest.approx(1) and found @ x.mean(0) > 0
    assert similarity(found, found) == pytest.approx(1) and similarity(found, -found) == pytest.approx(1)


def test_shift_by_hand():
    # the base spreads along (1, 0) with deviation 2 around (3, 0); everything moves by (-1, 5)
    base = np.array([[1.0, 0.0], [5.0, 0.0], [1.0, 0.0], [5.0, 0.0]])
    moved, deviation = shifts(base, base + np.array([-1.0, 5.0]))
    assert moved == pytest.approx([-1.0] * 4) and deviation == pytest.approx(2)
    along = first_direction(base)
    assert similarity(along, first_direction(base[:, ::-1])) == pytest.approx(0, abs=1e-12)
    turned = base @ np.array([[0.8, 0.6], [-0.6, 0.8]])
    assert similarity(along, first_direction(turned)) == pytest.approx(0.8)
    assert np.isnan(shifts(np.ones((4, 2)), base)[0]).all()


def test_directions_of_checkpoints(tiny_pair):
    base, unlearned = pair(tiny_pair("llama"))
    assert [e.value for e in get("pca_similarity").compute(base)] == pytest.approx([1.0] * 6)
    assert {e.value for e in get("pca_shift").compute(base)} == {0.0}
    prompts = unlearned.prompts
    similar = {tuple(e.at.values()): e.value for e in get("pca_similarity").compute(unlearned)}
    shifted = {tuple(e.at.values()): e.value for e in get("pca_shift").compute(unlearned)}
    for positions, layer in itertools.product(("answer", "predicting"), range(3)):
        mask = mask_of(prompts, positions)
        x, y = (states(one.model, prompts, mask).layer(layer) for one in (base, unlearned))
        c, other = (np.linalg.eigh(np.cov(z.T))[1][:, -1] for z in (x, y))
        c = c * np.sign(c @ x.mean(0))
        assert similar[layer, positions] == pytest.approx(abs(c @ other), abs=1e-6)
        rows = mask.nonzero()[:, 0].numpy()
        expected = np.mean([((y - x) @ c)[rows == i].mean() for i in range(len(prompts))])
        assert shifted[layer, positions, "raw"] == pytest.approx(expected, abs=1e-6)
        assert shifted[layer, positions, "base std"] == pytest.approx(expected / (x @ c).std(), abs=1e-6)


@pytest.mark.parametrize("architecture", BODY)
def test_fisher_is_that_of_plain_gradients_fact_by_fact(architecture: str, tiny_pair):
    directories = tiny_pair(architecture)
    subjects = pair(directories, dtype="float64")  # transformers keeps rotations and norms in float32 all the same
    body, *parts = BODY[architecture]
    keys = [(layer, block) for layer in range(3) for block in ("attn", "mlp", "block")]
    prefixes = [f"{body.format(l=layer)}.{part}" for layer in range(3) for part in (*parts, "")]
    tables = []
    for examined, path in zip(subjects, directories, strict=True):
        plain = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float64).eval()
        squares = [plain_squares(plain, examined.prompts, i) for i in range(len(FACTS))]
        table = np.array([[_under(prefix, one) for prefix in prefixes] for one in squares])
        sizes = [_under(prefix, {name: p.numel() for name, p in plain.named_parameters()}) for prefix in prefixes]
        found = get("fisher").compute(examined)
        traces = [e for e in found if e.at["scale"] == "trace"]
        assert [(e.at["layer"], e.at["block"]) for e in traces] == keys
        np.testing.assert_allclose(np.stack([e.items for e in traces], 1), table, rtol=1e-5)
        means = [e.value for e in found if e.at["scale"] == "mean"]
        np.testing.assert_allclose(means, table.mean(0) / sizes, rtol=1e-5)
        tables.append(table)
    ratios = get("fisher_ratio").compute(subjects[1])
    np.testing.assert_allclose([e.value for e in ratios], tables[1].mean(0) / tables[0].mean(0), rtol=1e-5)
    assert all(e.low <= e.value <= e.high for e in (ratio.with_interval() for ratio in ratios))
    assert {e.value for e in get("fisher_ratio").compute(subjects[0])} == {1.0}


def _under(prefix: str, values: dict[str, float]) -> float:
    return sum(value for name, value in values.items() if name.startswith(prefix))


def plain_squares(model: torch.nn.Module, prompts, i: int) -> dict[str, float]:
    """Squared norm of the gradient of one fact's log-probability, by parameter."""
    n, start = int(prompts.lengths[i]), int(prompts.prompt_lengths[i])
    tokens = prompts.tokens[i : i + 1, :n]
    stop = start + int(prompts.answer_lengths[i])
    logs = model(tokens).logits[0].log_softmax(-1)
    total = sum(logs[place - 1, tokens[0, place]] for place in range(start, stop))
    model.zero_grad()
    total.backward()
    return {name: float(p.grad.square().sum()) for name, p in model.named_parameters() if p.grad is not None}


def test_a_batchs_gradient_squared_is_another_number(tiny_pair):
    """What the published code squares: a sum over examples, in which they cancel."""
    model = pair(tiny_pair("llama"), dtype="float64")[0].model
    prompts = FACTS.prompts(model, progress=False)
    names = {0: ("blocks.1.mlp.W_out",)}
    each = squared_gradients(model, prompts, names)[0]
    weight = model.get_parameter("blocks.1.mlp.W_out")
    logs = model(prompts.tokens).log_softmax(-1)[prompts.predicting_mask]
    per_token = logs.gather(-1, prompts.tokens[prompts.answer_mask][:, None])[:, 0]
    rows = prompts.answer_mask.nonzero()[:, 0]
    totals = [per_token[rows == i].sum() for i in range(len(prompts))]
    apart = [torch.autograd.grad(total, weight, retain_graph=True)[0] for total in totals]
    np.testing.assert_allclose(each, [float(g.square().sum()) for g in apart], rtol=1e-8)
    together = float(torch.stack(apart).mean(0).square().sum())
    assert together < 0.8 * each.mean()


def test_fisher_leaves_the_model_as_it_was(tiny_pair):
    base, _ = pair(tiny_pair("llama"))
    model = base.model
    weight = model.get_parameter("blocks.0.mlp.W_in")
    weight.grad = torch.full_like(weight, 3.0)
    model.blocks[1].mlp.W_in.requires_grad_(False)
    asked = {name: p.requires_grad for name, p in model.named_parameters()}
    with torch.no_grad():
        values = [e.value for e in get("fisher").compute(base)]
    assert all(value > 0 for value in values)
    assert {name: p.requires_grad for name, p in model.named_parameters()} == asked
    assert (weight.grad == 3.0).all() and all(p.grad is None for p in model.parameters() if p is not weight)


def test_some_facts_do_for_fisher(tiny_pair):
    whole = get("fisher").compute(pair(tiny_pair("llama"))[0])
    some = get("fisher").compute(pair(tiny_pair("llama"), options={"fisher.max_facts": 2})[0])
    for one, other in zip(whole, some, strict=True):
        there = ~np.isnan(other.items)
        assert other.n == there.sum() == 2
        np.testing.assert_allclose(other.items[there], one.items[there], rtol=1e-5)
    with pytest.raises(DissectError, match="whole number of at least 1, got 'many'"):
        get("fisher").compute(pair(tiny_pair("llama"), options={"fisher.max_facts": "many"})[0])
