"""A conversation that draws, with the library alone: no service, only an SD host (SD_HOST)."""

import os
from pathlib import Path

from robotchat import Robot, WebUI

with Robot(art=WebUI(os.environ.get("SD_HOST", "http://127.0.0.1:7861"))) as robot:
    beach = robot.chat_text2image("I want to see a photo of a beach")
    sunset = robot.chat_text2image("at sunset", beach.conversation_id)
    print(sunset.prompt)
    Path(os.environ.get("OUT", "beach.png")).write_bytes(robot.drawing(sunset).images[0].data)
