"""With what each method and metric is compared, how closely, and by which test.

`tests/test_docs.py` sees to it that the tests exist and that each has its tolerance in its file.
"""

PGC, CAPTUM, TORCHCAM, ZENNIT = "pytorch-grad-cam", "captum", "torch-cam", "zennit"
TWIN, CLOSED = "a literal twin of the paper", "a closed form"
CAMS, TWINS = "tests/parity/test_cams.py", "tests/methods/test_twins.py"
FORMS, MASKED = "tests/methods/test_closed_forms.py", "tests/methods/test_masked_cams.py"
GRADIENTS, METRICS = "tests/parity/test_gradients.py", "tests/parity/test_metrics.py"
PEERS = "tests/parity/test_perturbation_peers.py"
OTHERS = "tests/parity/test_metrics_of_peers.py"

Row = tuple[str, str, str]
"""Against what, to which tolerance of the largest value, by which test; "" where the test states its own."""

_PGC = (PGC, "1e-5", f"{CAMS}::test_cams_are_those_of_pytorch_grad_cam")
_SVD = (PGC, "1e-4", f"{CAMS}::test_cams_are_those_of_pytorch_grad_cam")
_TORCHCAM = (TORCHCAM, "1e-5", f"{CAMS}::test_cams_are_those_of_torch_cam")
_TWIN = (TWIN, "", f"{TWINS}::test_every_cam_equals_its_literal_twin")
_GRADIENT = (CAPTUM, "1e-5", f"{GRADIENTS}::test_gradients_are_captums")
_SMOOTH = (CAPTUM, "1e-10", f"{GRADIENTS}::test_smooth_gradients_of_the_same_noisy_copies_are_captums")
_ATTENTION = (TWIN, "1e-9", "tests/methods/test_attention_methods.py::test_each_method_is_its_literal_twin")
_PATHS = (CAPTUM, "1e-10", "tests/parity/test_captum_paths.py::test_of_the_same_draws_the_maps_are_captums")
_GUIDED = "tests/methods/test_guided.py::test_on_relu_modules_the_maps_are_captums_and_zennits"
_LOCAL = ("Quantus", "", f"{OTHERS}::test_localisation_is_quantus")
_SIMPLE = ("Quantus", "", f"{OTHERS}::test_complexity_is_quantus")
_SIC = ("the authors' code (PAIR)", "", f"{METRICS}::test_sic_is_that_of_its_authors")
_DROP = "test_drop_and_increase_are_those_of_grad_cam_but_for_the_division"
_SENSITIVITY = ("captum, Quantus", "", f"{OTHERS}::test_max_sensitivity_is_captums_and_quantus")

PARITY: dict[str, tuple[Row, ...]] = {
    "attention-rollout": (_ATTENTION,),
    "legrad": (_ATTENTION,),
    "transformer-attribution": (_ATTENTION,),
    "ablation-cam": (
        (PGC, "1e-4", "tests/parity/test_ablation.py::test_ablation_cam_equals_pytorch_grad_cam"),
    ),
    "cam": (
        (CLOSED, "", f"{FORMS}::test_cam_is_the_sum_of_class_weights_times_activations"),
        (TWIN, "1e-10", f"{TWINS}::test_cam_equals_its_literal_twin"),
    ),
    "eigen-cam": (_SVD, _TWIN),
    "eigen-grad-cam": (_SVD, _TWIN),
    "grad-cam": (
        _PGC,
        _TORCHCAM,
        (CAPTUM, "1e-5", f"{CAMS}::test_signed_grad_cam_is_captums"),
        _TWIN,
    ),
    "grad-cam++": (
        _PGC,
        _TWIN,
        (CLOSED, "", f"{FORMS}::test_grad_cam_plus_plus_weights_have_a_closed_form"),
    ),
    "grad-cam-elementwise": (_PGC, _TWIN),
    "group-cam": ((TWIN, "", f"{MASKED}::test_group_cam_is_its_equation"),),
    "hirescam": (_PGC, _TWIN),
    "integrated-grad-cam": (
        (TWIN, "", "tests/methods/test_integrated_grad_cam.py::test_it_is_the_papers_integral"),
    ),
    "is-cam": ((TWIN, "", f"{MASKED}::test_is_cam_is_its_equation"),),
    "layer-cam": (_PGC, _TORCHCAM, _TWIN),
    "opti-cam": ((TWIN, "", f"{MASKED}::test_opti_cam_is_the_best_of_its_ascent"),),
    "random-cam": (
        (CLOSED, "", f"{FORMS}::test_random_cam_draws_weights_from_minus_one_to_one_by_its_seed"),
    ),
    "score-cam": ((PGC, "1e-4", f"{PEERS}::test_score_cam_with_its_variant_is_pytorch_grad_cams"),),
    "ss-cam": ((TWIN, "", f"{MASKED}::test_ss_cam_is_its_equation"),),
    "xgrad-cam": ((PGC, "5e-5", f"{CAMS}::test_cams_are_those_of_pytorch_grad_cam"), _TORCHCAM, _TWIN),
    "input-x-gradient": (_GRADIENT,),
    "saliency": (_GRADIENT,),
    "smooth-grad": (_SMOOTH,),
    "smooth-grad-squared": (_SMOOTH,),
    "var-grad": (_SMOOTH,),
    "extremal-perturbation": (
        (TWIN, "", "tests/methods/test_extremal_perturbation.py::test_it_is_its_equation_step_by_step"),
    ),
    "i-gos": (
        ("the authors' code", "", "tests/methods/test_igos.py::test_the_official_search_is_the_authors_loop"),
    ),
    "i-gos++": (
        (TWIN, "", "tests/methods/test_igos.py::test_i_gos_plus_plus_descends_the_slope_of_its_four_terms"),
    ),
    "meaningful-perturbation": (
        (TWIN, "", "tests/methods/test_meaningful_perturbation.py::test_it_is_its_equation_step_by_step"),
    ),
    "agi": ((TWIN, "", "tests/methods/test_agi.py::test_the_map_is_that_of_the_literal_algorithm"),),
    "blur-ig": (("PAIR saliency", "1e-8", "tests/parity/test_saliency.py::test_blur_ig_is_pairs"),),
    "enhanced-ig": (
        (
            "integrated-gradients",
            "",
            "tests/methods/test_enhanced_ig.py::test_from_zero_on_a_line_it_is_integrated_gradients_by_trapezoids",
        ),
    ),
    "expected-gradients": (
        (
            "integrated-gradients",
            "",
            "tests/methods/test_expected_gradients.py::test_many_draws_are_the_mean_of_integrated_gradients_over_the_references",
        ),
    ),
    "gradient-shap": (_PATHS,),
    "guided-ig": (("PAIR saliency", "1e-8", "tests/parity/test_saliency.py::test_guided_ig_is_pairs"),),
    "integrated-gradients": (
        (CAPTUM, "1e-7", "tests/parity/test_captum_ig.py::test_integrated_gradients_are_captums"),
    ),
    "random-baseline-ig": (
        (
            "integrated-gradients",
            "",
            "tests/methods/test_random_baseline_ig.py::test_it_is_the_mean_of_integrated_gradients_over_its_baselines",
        ),
    ),
    "xrai": (
        (
            "PAIR saliency",
            "1e-6",
            "tests/parity/test_saliency.py::test_xrai_is_pairs_given_the_same_integrated_gradients",
        ),
    ),
    "baylime": (
        (
            "scikit-learn",
            "",
            "tests/methods/test_perturbation.py::test_baylime_without_information_fits_its_precisions_as_scikit_learn",
        ),
    ),
    "kernel-shap": ((CAPTUM, "1e-3", f"{PEERS}::test_kernel_shap_of_a_linear_model_is_captums"),),
    "lime": (("lime", "1e-8", f"{PEERS}::test_lime_is_the_lime_packages_given_the_same_rows"),),
    "occlusion": ((CAPTUM, "1e-6", f"{PEERS}::test_occlusion_is_captums"),),
    "partition-shap": (
        (
            TWIN,
            "",
            "tests/methods/test_partition_shap.py::test_an_opened_tree_gives_the_mean_over_the_orders_it_allows",
        ),
    ),
    "rise": (
        (
            "the authors' code",
            "",
            "tests/methods/test_perturbation.py::test_rise_masks_are_those_of_the_authors_code",
        ),
        (TWIN, "", "tests/methods/test_perturbation.py::test_rise_is_its_formula_in_a_loop"),
    ),
    "attn-lrp": (
        (TWIN, "", "tests/methods/test_attn_lrp.py::test_it_is_the_gradient_of_the_authors_modified_network"),
    ),
    "deconvnet": ((f"{CAPTUM}, {ZENNIT}", "1e-12", _GUIDED),),
    "deep-lift": (
        (
            CAPTUM,
            "1e-9",
            "tests/methods/test_deep_lift.py::test_networks_that_captum_can_follow_have_its_map",
        ),
    ),
    "deep-shap": (
        (
            CAPTUM,
            "1e-10",
            "tests/methods/test_deep_shap.py::test_it_is_captums_on_a_network_that_captum_can_follow",
        ),
    ),
    "excitation-backprop": (
        (
            ZENNIT,
            "",
            "tests/methods/test_excitation_backprop.py::test_probabilities_are_those_of_zennit",
        ),
    ),
    "full-grad": (
        (
            PGC,
            "1e-5",
            "tests/methods/test_full_grad.py::test_where_pytorch_grad_cam_finds_biases_its_terms_are_ours",
        ),
    ),
    "guided-backprop": ((f"{CAPTUM}, {ZENNIT}", "1e-12", _GUIDED),),
    "guided-grad-cam": ((CAPTUM, "1e-12", "tests/methods/test_guided.py::test_guided_grad_cam_is_captums"),),
    "lrp": ((ZENNIT, "1e-9", "tests/parity/test_zennit.py::test_composites_are_zennits"),),
    "relevance-cam": (
        (
            ZENNIT,
            "",
            "tests/methods/test_relevance_cam.py::test_between_an_operation_and_its_norm_lies_the_relevance_of_both_as_zennit_merges_them",
        ),
    ),
    "simple-full-grad": (
        (
            CLOSED,
            "",
            "tests/methods/test_full_grad.py::test_simple_full_grad_knows_nothing_of_biases_that_nobody_added",
        ),
    ),
    "smooth-full-grad": (
        (
            TWIN,
            "",
            "tests/methods/test_full_grad.py::test_smooth_full_grad_takes_means_of_signed_terms_before_psi",
        ),
    ),
    "adcc": ((TWIN, "", "tests/metrics/test_shown_twins.py::test_adcc_equals_its_twin"),),
    "aopc": (
        ("Quantus", "1e-5", f"{METRICS}::test_region_perturbation_is_that_of_quantus_and_aopc_its_mean"),
    ),
    "average-drop": (
        (PGC, "1e-5", f"{METRICS}::{_DROP}"),
        (TORCHCAM, "", f"{METRICS}::test_drop_and_increase_are_those_of_torch_cam"),
    ),
    "increase-in-confidence": (
        (PGC, "", f"{METRICS}::{_DROP}"),
        (TORCHCAM, "", f"{METRICS}::test_drop_and_increase_are_those_of_torch_cam"),
    ),
    "complexity": (_SIMPLE,),
    "effective-complexity": (_SIMPLE,),
    "sparseness": (_SIMPLE,),
    "faithfulness-correlation": (
        ("Quantus", "", f"{OTHERS}::test_faithfulness_correlation_is_quantus_where_a_pixel_is_one_value"),
    ),
    "faithfulness-estimate": (
        ("Quantus", "1e-4", f"{METRICS}::test_faithfulness_estimate_of_one_channel_is_that_of_quantus"),
    ),
    "infidelity": ((CAPTUM, "", f"{OTHERS}::test_infidelity_is_captums"),),
    "irof": (
        (
            "Quantus",
            "",
            f"{METRICS}::test_irof_of_quantus_is_ours_times_its_segments_but_for_the_picture_itself",
        ),
    ),
    "pixel-flipping": (
        (
            "Quantus",
            "1e-5",
            f"{METRICS}::test_pixel_flipping_of_one_channel_is_quantus_curve_and_ours_holds_the_picture_too",
        ),
    ),
    "region-perturbation": (
        ("Quantus", "1e-5", f"{METRICS}::test_region_perturbation_is_that_of_quantus_and_aopc_its_mean"),
    ),
    "road": ((PGC, "1e-4", f"{METRICS}::test_road_is_that_of_grad_cam"),),
    "selectivity": (("Quantus", "1e-5", f"{METRICS}::test_selectivity_is_that_of_quantus"),),
    "sic": (_SIC,),
    "localisation-auc": (_LOCAL,),
    "pointing-game": (_LOCAL,),
    "relevance-mass": (_LOCAL,),
    "relevance-rank": (_LOCAL,),
    "top-k-intersection": (_LOCAL,),
    "max-sensitivity": (_SENSITIVITY,),
    "avg-sensitivity": (_SENSITIVITY,),
    "deletion": ((TWIN, "", "tests/metrics/test_removal_twins.py::test_equals_a_slow_literal_twin"),),
    "insertion": ((TWIN, "", "tests/metrics/test_removal_twins.py::test_equals_a_slow_literal_twin"),),
    "lerf": ((TWIN, "", "tests/metrics/test_removal_twins.py::test_equals_a_slow_literal_twin"),),
    "morf": ((TWIN, "", "tests/metrics/test_removal_twins.py::test_equals_a_slow_literal_twin"),),
    "srg": ((TWIN, "", "tests/metrics/test_removal_twins.py::test_equals_a_slow_literal_twin"),),
    "aic": ((TWIN, "", "tests/metrics/test_information.py::test_aic_equals_its_twin"),),
    "completeness": ((TWIN, "", "tests/metrics/test_axiomatic.py::test_completeness_is_its_twin"),),
    "non-sensitivity": ((TWIN, "", "tests/metrics/test_axiomatic.py::test_non_sensitivity_is_its_twin"),),
    "monotonicity": ((TWIN, "", "tests/metrics/test_parts_twins.py::test_monotonicity_equals_its_twin"),),
    "monotonicity-correlation": (
        (TWIN, "", "tests/metrics/test_parts_twins.py::test_monotonicity_correlation_equals_its_twin"),
    ),
    "mu-fidelity": (
        (TWIN, "", "tests/metrics/test_faithfulness_of_subsets.py::test_mu_fidelity_is_its_twin"),
    ),
    "sensitivity-n": (
        (TWIN, "", "tests/metrics/test_faithfulness_of_subsets.py::test_sensitivity_n_is_its_twin"),
    ),
    "energy-pointing-game": (
        (
            TWIN,
            "",
            "tests/metrics/test_localisation.py::test_the_energy_in_the_box_is_that_of_positive_evidence",
        ),
    ),
    "localisation-iou": ((TWIN, "", "tests/metrics/test_localisation.py::test_the_overlap_is_its_twin"),),
    "efficient-mprt": ((TWIN, "", "tests/metrics/test_randomisation.py::test_efficient_mprt_is_its_twin"),),
    "mprt": ((TWIN, "", "tests/metrics/test_randomisation.py::test_mprt_is_its_twin"),),
    "smooth-mprt": ((TWIN, "", "tests/metrics/test_randomisation.py::test_smooth_mprt_averages_over_noise"),),
    "random-logit": (
        (
            TWIN,
            "",
            "tests/metrics/test_randomisation.py::test_the_random_logit_is_another_class_of_each_image",
        ),
    ),
    "input-invariance": (
        (
            CLOSED,
            "",
            "tests/metrics/test_randomisation.py::test_gradients_are_invariant_to_a_shift_and_products_with_the_input_are_not",
        ),
    ),
    "local-lipschitz": ((TWIN, "", "tests/metrics/test_robustness.py::test_it_is_its_twin"),),
    "relative-input-stability": ((TWIN, "", "tests/metrics/test_robustness.py::test_it_is_its_twin"),),
    "relative-output-stability": ((TWIN, "", "tests/metrics/test_robustness.py::test_it_is_its_twin"),),
    "relative-representation-stability": (
        (TWIN, "", "tests/metrics/test_robustness.py::test_it_is_its_twin"),
    ),
    "intervention": (
        (
            CLOSED,
            "",
            "tests/truth/test_scoreboard.py::test_methods_and_metrics_are_ranked_by_what_they_are_worth",
        ),
    ),
}
"""By name; those that no library has are compared with their formula alone, in the tests of their file."""
