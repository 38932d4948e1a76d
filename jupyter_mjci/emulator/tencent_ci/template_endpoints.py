"""Endpoints of templates: `/template`."""

from __future__ import annotations

import re
from collections.abc import Mapping

from jupyter_mjci.emulator.cos.requests import RequestContext
from jupyter_mjci.emulator.tencent_ci.endpoints import (
    Routes,
    check_tag,
)
from jupyter_mjci.emulator.tencent_ci.events import IdGenerator
from jupyter_mjci.emulator.tencent_ci.jobs import Template
from jupyter_mjci.emulator.tencent_ci.params import (
    lowercase_keys,
    paginate_by_number,
    parse_bool,
    split_list,
)
from jupyter_mjci.emulator.tencent_ci.responses import render_template
from jupyter_mjci.emulator.xml import (
    Element,
    ErrorResponse,
    get_text,
    invalid_argument,
    parse_xml,
    require_text,
)


class TemplateEndpoints:
    """Templates: names for a picture rule."""

    def __init__(self, templates: dict[str, Template], ids: IdGenerator) -> None:
        self.templates = templates
        self.ids = ids

    def build_routes(self) -> Routes:
        """Return which method answers which request."""
        return {
            ("POST", "template", False): self.create_template,
            ("PUT", "template", True): self.update_template,
            ("GET", "template", False): self.list_templates,
            ("GET", "template", True): self.list_templates,
            ("DELETE", "template", True): self.delete_template,
        }

    def get_template(self, bucket: str, template_id: str) -> Template:
        """Return a template. Raises ErrorResponse where the bucket has none with the ID."""
        template = self.templates.get(template_id)
        if template is None or template.bucket != bucket:
            message = f"The template {template_id} does not exist."
            raise ErrorResponse(404, "TemplateNotFound", message)
        return template

    def create_template(self, context: RequestContext) -> Element:
        """`POST /template`."""
        template_id = self.ids.new_id("t")
        bucket = context.bucket.name
        template = Template(template_id, bucket, "", "", False, context.now, context.now)
        self._update_template(template, context)
        self.templates[template.id] = template
        return {"RequestId": context.request_id, "Template": render_template(template)}

    def update_template(self, context: RequestContext) -> Element:
        """`PUT /template/{id}`."""
        template = self.get_template(context.bucket.name, context.key)
        self._update_template(template, context)
        template.updated = context.now
        return {"RequestId": context.request_id, "Template": render_template(template)}

    def _update_template(self, template: Template, context: RequestContext) -> None:
        request = parse_xml(context.request.body, "Request")
        name = require_text(request, "Name")
        check_tag(request)
        if not re.fullmatch(r"[\w*-]{1,64}", name):
            raise invalid_argument(
                "Name must be Chinese, Latin, digits, _, - and *, at most 64 characters."
            )
        for other in self.templates.values():
            if other is template or other.bucket != template.bucket:
                continue
            if other.name == name:
                message = f"There is a template {name!r} already."
                raise ErrorResponse(400, "TemplateNameDuplicate", message)
        template.rule = require_text(request, "PicProcess/ProcessRule")
        template.name = name
        template.wants_image_info = parse_bool(get_text(request, "PicProcess/IsPicInfo"))

    def delete_template(self, context: RequestContext) -> Element:
        """`DELETE /template/{id}`."""
        template = self.get_template(context.bucket.name, context.key)
        del self.templates[template.id]
        return {"RequestId": context.request_id, "TemplateId": template.id}

    def list_templates(self, context: RequestContext) -> Element:
        """`GET /template`, `GET /template/{ids}`: filtered and paged by number."""
        params = lowercase_keys(context.params)
        templates = self._select_templates(context, params)
        page, counts = paginate_by_number(templates, params)
        return {
            "RequestId": context.request_id,
            **counts,
            "TemplateList": [render_template(template) for template in page],
        }

    def _select_templates(
        self, context: RequestContext, params: Mapping[str, str]
    ) -> list[Template]:
        if params.get("category", "") not in ("", "Custom"):
            return []
        if params.get("tag", "") not in ("", "PicProcess", "All"):
            return []
        ids = split_list(params.get("ids", "") or context.key)
        prefix = params.get("name", "")
        return [
            template
            for template in self.templates.values()
            if template.bucket == context.bucket.name
            and template.name.startswith(prefix)
            and (not ids or template.id in ids)
        ]
