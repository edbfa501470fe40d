import numpy as np
import pytest
from scipy.optimize import check_grad

from nas.search.samplers import gaussian_process as gp
from nas.search.samplers.gaussian_process import Basis, Kernel, Points, Posterior, fit_kernel, thin


def make_points(n, seed, dimensions=6, features=2):
    rng = np.random.default_rng(seed)
    return Points(rng.integers(-1, 3, size=(n, dimensions)), rng.standard_normal((n, features)))


def make_kernel(noise=1e-3):
    return Kernel(np.full(6, 0.2), np.full(2, 0.3), 1.5, 0.8, noise)


def draw_values(points, kernel, seed):
    covariance = kernel.between(points, points) + kernel.noise * np.eye(len(points))
    return np.linalg.cholesky(covariance) @ np.random.default_rng(seed).standard_normal(len(points))


def test_a_covariance_counts_differing_choices_squared_distances_and_a_plane():
    kernel = Kernel(np.array([0.5, 1.0]), np.array([2.0]), 3.0, 0.7, 0.1)
    left = Points(np.array([[0, 1]]), np.array([[1.0]]))
    right = Points(np.array([[0, 1], [0, 2], [-1, 1]]), np.array([[1.0], [1.0], [3.0]]))
    expected = 3.0 * np.exp([0.0, -1.0, -0.5 - 2.0 * 4 / 2]) + 0.7 * np.array([1.0, 1.0, 3.0])
    assert kernel.variance(right) == pytest.approx(np.diag(kernel.between(right, right)))
    assert kernel.between(left, right)[0] == pytest.approx(expected)


def test_the_gradient_of_the_likelihood_is_that_of_finite_differences():
    points = make_points(25, 1)
    values = np.random.default_rng(2).standard_normal(25)
    parts, plane = gp._exponents(points), gp._products(points.features, points.features)
    logs = np.random.default_rng(3).normal(-1, 0.5, size=11)
    error = check_grad(
        lambda x: gp._negative_likelihood(x, parts, plane, values)[0],
        lambda x: gp._negative_likelihood(x, parts, plane, values)[1],
        logs,
    )
    assert error < 1e-3


def test_a_fit_finds_which_choices_matter():
    points = make_points(120, 4)
    values = 2.0 * (points.choices[:, 0] == 1) - 1.0 * (points.choices[:, 2] == 0)
    kernel = fit_kernel(points, (values - values.mean()) / values.std())
    assert set(np.argsort(kernel.weights)[-2:]) == {0, 2}
    assert kernel.noise < 0.01


def test_observed_values_are_reproduced_and_far_points_get_the_mean():
    points, kernel = make_points(30, 5), make_kernel(noise=1e-6)
    values = draw_values(points, kernel, 6)
    posterior = Posterior(kernel, points, values)
    belief = posterior.predict(points)
    assert belief.mean == pytest.approx(values, abs=1e-3)
    assert belief.deviation.max() < 0.01
    kernel = Kernel(kernel.weights, kernel.scales, 1.5, 0.0, 1e-6)  # no plane
    posterior = Posterior(kernel, points, values)
    far = Points(np.full((1, 6), -1), np.full((1, 2), 100.0))
    assert posterior.predict(far).mean[0] == pytest.approx(values.mean())


def test_through_all_points_the_approximation_is_exact(monkeypatch):
    points, kernel = make_points(40, 7), make_kernel(noise=0.05)
    values, asked = draw_values(points, kernel, 8), make_points(20, 9)
    monkeypatch.setattr(Posterior, "_calibration", 1.0)
    exact = Posterior(kernel, points, values).predict(asked)
    through = Posterior(kernel, points, values, Basis(kernel, points)).predict(asked)
    assert through.mean == pytest.approx(exact.mean, abs=1e-4)
    assert through.deviation == pytest.approx(exact.deviation, abs=1e-3)


def test_few_of_many_points_predict_nearly_as_well():
    points, kernel = make_points(700, 10), make_kernel(noise=0.05)
    values = draw_values(points, kernel, 11)
    exact = Posterior(kernel, points, values).predict(points)
    index = thin(values, 300, np.random.default_rng(0))
    through = Posterior(kernel, points, values, Basis(kernel, points.take(index))).predict(points)
    assert np.corrcoef(exact.mean, through.mean)[0, 1] > 0.97


def test_sums_that_are_kept_are_those_of_a_basis_made_anew():
    points, kernel = make_points(1100, 20), make_kernel(noise=0.05)
    values = draw_values(points, kernel, 21)
    few = points.take(np.arange(50))
    kept = Basis(kernel, few)
    for count in (100, 255, 256, 700, 701, 1100):
        index = np.arange(count)
        found = kept.evidence(points.take(index), values[:count])
        anew = Basis(kernel, few).evidence(points.take(index), values[:count])
        assert all((one == other).all() for one, other in zip(found, anew, strict=True))
    cross = kernel.between(few, points)
    assert found[1] == pytest.approx(cross @ np.column_stack([values, np.ones(1100)]))
    whitened = np.linalg.solve(kept.root, cross)
    assert found[0] == pytest.approx(whitened @ whitened.T, rel=1e-6)


@pytest.mark.parametrize("exact", [True, False])
def test_an_expected_value_makes_others_surer_as_an_observed_one_does(exact):
    points, kernel = make_points(30, 12), make_kernel(noise=0.02)
    asked = make_points(10, 13)
    values = draw_values(points, kernel, 14)
    basis = None if exact else Basis(kernel, points.take(np.arange(29)))
    posterior = Posterior(kernel, points, values, basis)
    belief = posterior.predict(asked)
    before = belief.deviation
    belief.expect(2)
    assert (belief.deviation <= before + 1e-12).all()
    if exact:
        both = Points(
            np.concatenate([points.choices, asked.choices[:2]]),
            np.concatenate([points.features, asked.features[:2]]),
        )
        observed = np.concatenate([values, belief.mean[:2]])
        again = Posterior(kernel, both, observed).predict(asked)
        ratio = belief.deviation / again.deviation
        assert ratio == pytest.approx(np.full(10, ratio[0]), rel=1e-3)  # but for scale


def test_deviations_are_calibrated():
    points, kernel = make_points(400, 15), make_kernel(noise=0.02)
    values = draw_values(points, kernel, 16)
    known, asked = points.take(np.arange(200)), points.take(np.arange(200, 400))
    fitted = fit_kernel(known, (values[:200] - values[:200].mean()) / values[:200].std())
    belief = Posterior(fitted, known, values[:200]).predict(asked)
    noise = np.sqrt(fitted.noise) * values[:200].std()
    z = (values[200:] - belief.mean) / np.hypot(belief.deviation, noise)
    assert 0.88 < (np.abs(z) < 1.96).mean() <= 1.0
    assert (np.abs(z) < 1).mean() < 0.85


def test_too_narrow_deviations_are_widened():
    points = make_points(60, 17)
    values = np.random.default_rng(18).standard_normal(60)
    sure = Kernel(np.full(6, 0.01), np.full(2, 0.01), 1.0, 1.0, 1e-3)  # nothing of this is smooth
    assert Posterior(sure, points, values)._calibration == gp.CALIBRATION[1]


def test_equal_values_have_a_spread_of_one():
    assert gp.spread(np.full(5, 3.0)) == 1.0


def test_thinning_keeps_the_lowest_values():
    values = np.random.default_rng(19).standard_normal(1000)
    index = thin(values, 100, np.random.default_rng(0))
    assert len(index) == len(set(index)) == 100
    assert set(np.argsort(values)[:50]) <= set(index)
    assert list(thin(values[:20], 100, np.random.default_rng(0))) == list(range(20))
