"""Isaac ROS: parameters and a launch file of its TensorRTNode. Source: isaac_ros_dnn_inference 2.1 to 4.5."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dlaflow.deploy.plan import Deployment, Generated, require_plain
from dlaflow.deploy.text import commented, python_text, yaml_text

_TRAPS = (
    "force_engine_update: false, for the node's own default builds again and overwrites this engine.",
    "No release has a parameter for INT8 or calibration: INT8 comes only as a finished engine, such as this one.",
    "From 4.3 on enable_fp16 sets TF32, so what the node itself builds for the DLA lands on the GPU.",
    "Topics: tensor_pub comes in, tensor_sub goes out.",
)
_LAUNCH = """
import os

from launch import LaunchDescription
from launch_ros.actions import ComposableNodeContainer
from launch_ros.descriptions import ComposableNode

PARAMETERS = os.path.join(os.path.dirname(os.path.abspath(__file__)), {parameters})


def generate_launch_description():
    node = ComposableNode(
        name={name},
        package="isaac_ros_tensor_rt",
        plugin="nvidia::isaac_ros::dnn_inference::TensorRTNode",
        parameters=[PARAMETERS],
    )
    container = ComposableNodeContainer(
        name={container},
        namespace="",
        package="rclcpp_components",
        executable="component_container_mt",
        composable_node_descriptions=[node],
        output="screen",
    )
    return LaunchDescription([container])
"""


def isaac_ros(deployment: Deployment) -> Generated:
    """`NAME.yaml` and `NAME.launch.py`.

    Raises InputError for formats of the DLA.
    """
    require_plain(deployment, "Isaac ROS")
    core = deployment.only_core("isaac-ros")
    notes = _about_core(core)
    parameters, name = f"{deployment.name}.yaml", deployment.name.replace("-", "_")
    node = name if name[0].isalpha() else f"engine_{name}"
    head = commented("#", [*notes, *deployment.facts(), *_TRAPS])
    launch = _LAUNCH.format(
        parameters=python_text(parameters), name=python_text(node), container=python_text(f"{node}_container")
    )
    values = "\n".join([*head, "/**:", "  ros__parameters:", *(f"    {line}" for line in _values(deployment, core))])
    files = ((parameters, f"{values}\n"), (f"{deployment.name}.launch.py", "\n".join(head) + launch))
    return Generated(files, notes)


def _about_core(core: int | None) -> tuple[str, ...]:
    if core is None:
        return ()
    asked = "" if core == 0 else f" and not on core {core}, as was asked for"
    return (
        f"Isaac ROS sets no DLA core at run time in any release (2.1 to 4.5): this engine will run on core 0{asked}. "
        "dla_core only tells its builder. "
        "For another core use its Triton node with `--for triton`, or a node around `--for cpp`.",
    )


def _values(deployment: Deployment, core: int | None) -> Iterator[str]:
    yield f"engine_file_path: {yaml_text(deployment.path)}"
    yield "force_engine_update: false"
    yield "enable_fp16: true"
    yield f"dla_core: {-1 if core is None else core}"
    for side, tensors in (("input", deployment.inputs), ("output", deployment.outputs)):
        names = [tensor.name for tensor in tensors]
        yield f"{side}_tensor_names: {_listed(names)}"
        yield f"{side}_binding_names: {_listed(names)}"
        if all(tensor.type == "fp32" for tensor in tensors):
            yield f"{side}_tensor_formats: {_listed(['nitros_tensor_list_nchw_rgb_f32'] * len(names))}"
    yield "verbose: false"


def _listed(names: Sequence[str]) -> str:
    return f"[{', '.join(map(yaml_text, names))}]"
