"""An InferenceService whose predictor is the same container; KServe makes its Deployment, Service and scaler."""

from __future__ import annotations

from typing import Any

from llmsizer.launch import container
from llmsizer.launch.fleet import Fleet
from llmsizer.launch.scaling import scaling_of
from llmsizer.launch.targets.kubernetes import PROMETHEUS, pod_container, pod_volumes
from llmsizer.launch.yaml_text import yaml_text

SERVICE = "inference-service.yaml"


def kserve_files(fleet: Fleet) -> dict[str, str]:
    """``inference-service.yaml``."""
    name, scaling = container.name_of(fleet), scaling_of(fleet)
    predictor: dict[str, Any] = {
        "minReplicas": scaling.fewest,
        "maxReplicas": scaling.most,
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": container.answer_seconds(fleet),
        "containers": [pod_container(fleet, "kserve-container")],
        "volumes": pod_volumes(fleet),
    }
    annotations = {"serving.kserve.io/deploymentMode": "Standard"}
    if scaling.metrics:
        annotations["serving.kserve.io/autoscalerClass"] = "keda"
        predictor["autoScaling"] = {
            "metrics": [
                {
                    "type": "External",
                    "external": {
                        "metric": {
                            "backend": "prometheus",
                            "serverAddress": PROMETHEUS,
                            "query": metric.query(f"{name}-predictor"),
                        },
                        "target": {"type": "AverageValue", "averageValue": metric.threshold_text},
                    },
                }
                for metric in scaling.metrics
            ]
        }
    document = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": name, "annotations": annotations},
        "spec": {"predictor": predictor},
    }
    return {SERVICE: yaml_text(document)}
