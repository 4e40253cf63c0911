"""A Deployment with its Service, a disruption budget, and autoscaling on queue and cache use by KEDA or HPA."""

from __future__ import annotations

from typing import Any

from llmsizer.launch import container
from llmsizer.launch.fleet import Fleet
from llmsizer.launch.scaling import Scaling, scaling_of
from llmsizer.launch.yaml_text import yaml_documents, yaml_text

DEPLOYMENT, AUTOSCALING, HPA = "deployment.yaml", "autoscaling.yaml", "hpa.yaml"
PROMETHEUS = "http://prometheus-server.monitoring.svc:80"


def kubernetes_files(fleet: Fleet) -> dict[str, str]:
    """``deployment.yaml`` with everything that serves.

    Where the engine shows its queue also ``autoscaling.yaml`` for clusters with KEDA, and ``hpa.yaml`` for others.
    """
    name, scaling = container.name_of(fleet), scaling_of(fleet)
    documents = [_deployment(fleet, name, scaling), _service(fleet, name), _disruption(name)]
    files = {DEPLOYMENT: yaml_documents(documents)}
    if scaling.metrics:
        files[AUTOSCALING] = yaml_text(scaled_object(name, scaling))
        files[HPA] = yaml_text(_autoscaler(name, scaling))
    return files


def pod_container(fleet: Fleet, name: str) -> dict[str, Any]:
    """One replica's container: image, flags, probes, resources, no value of any secret."""
    facts = fleet.engine.facts
    made: dict[str, Any] = {"name": name, "image": container.image(fleet)}
    if facts.container_command:
        made["command"] = list(facts.container_command)
    made["args"] = [word.replace("$(", "$$(") for word in container.arguments(fleet)]
    made["ports"] = [{"name": "http", "containerPort": facts.port}]
    made["env"] = _environment(fleet)
    made["resources"] = _resources(fleet)
    made["startupProbe"] = {**_probe(fleet, 10), "failureThreshold": container.start_seconds(fleet) // 10}
    made["readinessProbe"] = {**_probe(fleet, 5), "failureThreshold": 3}
    made["livenessProbe"] = {**_probe(fleet, 15), "failureThreshold": 4}
    made["securityContext"] = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    made["volumeMounts"] = [
        {"name": "shared-memory", "mountPath": "/dev/shm"},
        {"name": "models", "mountPath": "/models", "readOnly": True}
        if fleet.is_local_checkpoint
        else {"name": "weights", "mountPath": "/root/.cache"},
    ]
    return made


def pod_volumes(fleet: Fleet) -> list[dict[str, Any]]:
    shared = {
        "name": "shared-memory",
        "emptyDir": {"medium": "Memory", "sizeLimit": f"{container.shared_gib(fleet)}Gi"},
    }
    if fleet.is_local_checkpoint:
        return [shared, {"name": "models", "persistentVolumeClaim": {"claimName": "models", "readOnly": True}}]
    return [shared, {"name": "weights", "emptyDir": {}}]


def scaled_object(name: str, scaling: Scaling) -> dict[str, Any]:
    """KEDA asks Prometheus; thresholds are per replica."""
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"name": name},
        "spec": {
            "scaleTargetRef": {"name": name},
            "minReplicaCount": scaling.fewest,
            "maxReplicaCount": scaling.most,
            "pollingInterval": 15,
            "cooldownPeriod": 300,
            "triggers": [
                {
                    "type": "prometheus",
                    "metricType": "AverageValue",
                    "metadata": {
                        "serverAddress": PROMETHEUS,
                        "query": metric.query(name),
                        "threshold": metric.threshold_text,
                    },
                }
                for metric in scaling.metrics
            ],
        },
    }


def _autoscaler(name: str, scaling: Scaling) -> dict[str, Any]:
    """The same thresholds without KEDA: an adapter shows each pod's metrics to Kubernetes (README.md has its rule)."""
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "minReplicas": scaling.fewest,
            "maxReplicas": scaling.most,
            "metrics": [
                {
                    "type": "Pods",
                    "pods": {
                        "metric": {"name": metric.adapted},
                        "target": {"type": "AverageValue", "averageValue": metric.threshold_text},
                    },
                }
                for metric in scaling.metrics
            ],
        },
    }


def _deployment(fleet: Fleet, name: str, scaling: Scaling) -> dict[str, Any]:
    labels = {"app.kubernetes.io/name": name}
    pod = {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": container.answer_seconds(fleet),
        "containers": [pod_container(fleet, "server")],
        "volumes": pod_volumes(fleet),
    }
    scrape = {"prometheus.io/scrape": "true", "prometheus.io/port": str(fleet.engine.facts.port)}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "replicas": scaling.most,
            "selector": {"matchLabels": labels},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}},
            "template": {
                "metadata": {"labels": labels} | ({"annotations": scrape} if fleet.engine.facts.metrics else {}),
                "spec": pod,
            },
        },
    }


def _service(fleet: Fleet, name: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {
            "selector": {"app.kubernetes.io/name": name},
            "ports": [{"name": "http", "port": fleet.engine.facts.port, "targetPort": "http"}],
        },
    }


def _disruption(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": name},
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app.kubernetes.io/name": name}}},
    }


def _probe(fleet: Fleet, seconds: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": fleet.engine.facts.health, "port": "http"},
        "periodSeconds": seconds,
        "timeoutSeconds": 5,
    }


def _environment(fleet: Fleet) -> list[dict[str, Any]]:
    def secret(variable: str, key: str, *, optional: bool) -> dict[str, Any]:
        reference = {"name": "llm-secrets", "key": key, "optional": optional}
        return {"name": variable, "valueFrom": {"secretKeyRef": reference}}

    found: list[dict[str, Any]] = []
    if fleet.is_local_checkpoint:
        found.append({"name": "HF_HUB_OFFLINE", "value": "1"})
    else:
        found.append(secret("HF_TOKEN", "hf-token", optional=True))
    if fleet.engine.facts.key_variable:
        found.append(secret(fleet.engine.facts.key_variable, "api-key", optional=False))
    return found


def _resources(fleet: Fleet) -> dict[str, Any]:
    asked: dict[str, Any] = {"cpu": container.cores(fleet), "memory": f"{container.memory_gib(fleet)}Gi"}
    resource = container.RESOURCES.get(container.platform(fleet))
    gpus = {resource: fleet.gpus} if resource else {}
    return {"requests": asked | gpus, "limits": {"memory": asked["memory"]} | gpus}
