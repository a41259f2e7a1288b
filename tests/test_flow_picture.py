"""The colour wheel and the map of the error."""

import numpy as np
import pytest

from face3d.flow_picture import colour_wheel, error_picture, flow_picture


def test_wheel_is_the_published_one() -> None:
    wheel = colour_wheel()
    assert wheel.shape == (55, 3)
    corners = [0, 15, 21, 25, 36, 49]
    expected = [[255, 0, 0], [255, 255, 0], [0, 255, 0], [0, 255, 255], [0, 0, 255], [255, 0, 255]]
    assert wheel[corners].tolist() == expected
    assert wheel[1].tolist() == [255, 17, 0] and wheel[16].tolist() == [213, 255, 0]


def test_directions_have_their_colours() -> None:
    flow = np.array([[[1.0, 0], [0, 1.0], [-1.0, 0], [0, -1.0], [0, 0]]])
    right, down, left, up, still = flow_picture(flow)[0].tolist()
    assert right == [255, 0, 0]  # red
    assert down[0] > 200 and down[1] > 200 and down[2] == 0  # yellow
    assert left[0] == 0 and left[2] == 255  # blue
    assert up[0] < 255 and up[2] == 255  # violet
    assert still == [255, 255, 255]


def test_length_is_saturation() -> None:
    flow = np.array([[[1.0, 0], [2.0, 0], [4.0, 0]]])
    assert flow_picture(flow)[0].tolist() == [[255, 191, 191], [255, 127, 127], [255, 0, 0]]
    assert flow_picture(flow, largest_px=2.0)[0].tolist() == [[255, 127, 127], [255, 0, 0], [191, 0, 0]]
    assert flow_picture(np.zeros((2, 2, 2))).min() == 255
    with pytest.raises(ValueError, match="above zero"):
        flow_picture(flow, largest_px=0.0)


def test_unknown_flow_is_black_and_does_not_set_the_scale() -> None:
    flow = np.array([[[1.0, 0], [1.7e9, 1.7e9], [np.nan, 0], [50.0, 0]]])
    valid = np.array([[True, True, True, False]])
    assert flow_picture(flow, valid=valid)[0].tolist() == [[255, 0, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0]]


def test_error_turns_red_at_three_pixels_or_five_percent() -> None:
    error = np.array([[0.1, 2.9, 3.1, 9.0, 11.0, np.nan, 1.0]])
    length = np.array([[0.0, 0.0, 0.0, 200.0, 200.0, 0.0, 0.0]])
    valid = np.array([[True] * 6 + [False]])
    picture = error_picture(error, length, valid).astype(int)[0]
    assert picture[0].tolist() == [49, 54, 149]
    is_red = picture[:, 0] > picture[:, 2]
    assert is_red.tolist() == [False, False, True, False, True, True, False]
    assert picture[5].tolist() == [165, 0, 38] and picture[6].tolist() == [0, 0, 0]
