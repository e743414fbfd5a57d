--- Gray text behind the cursor: one mark with a fixed id, set anew when the text grows.
---
--- Knows the screen, not where the text is from.
local text = require("seed.text")
local api = vim.api

local M = {}
local NAMESPACE = api.nvim_create_namespace("seed")
local MARK_ID = 1
local shown_in ---@type integer?

--- Show text at a place instead of what was shown.
---@param place seed.Place
---@param suggested string
---@param hint string? said behind the first line
function M.show(place, suggested, hint)
  if shown_in and shown_in ~= place.buf then
    M.hide()
  end
  local tabstop = vim.bo[place.buf].tabstop
  local lines = vim.split(suggested, "\n", { plain = true })
  local suffix = place.line:sub(place.col + 1)
  local column = vim.fn.strdisplaywidth(place.line:sub(1, place.col))
  local first = { { text.expand_tabs(lines[1], column, tabstop), "SeedGhost" } }
  local below = {}
  for index = 2, #lines do
    below[index - 1] = { { text.expand_tabs(lines[index], 0, tabstop), "SeedGhost" } }
  end
  local position = "inline"
  if #lines > 1 and suffix ~= "" then
    -- What stands behind the cursor will stand behind the last line: shown there, covered here.
    position = "overlay"
    local covered = vim.fn.strdisplaywidth(suffix, column) - vim.fn.strdisplaywidth(first[1][1])
    first[2] = { (" "):rep(covered), "Normal" }
    table.insert(below[#below], { suffix, "SeedGhost" })
  end
  if hint then
    table.insert(first, { hint, "SeedHint" })
  end
  api.nvim_buf_set_extmark(place.buf, NAMESPACE, place.row, place.col, {
    id = MARK_ID,
    virt_text = first,
    virt_text_pos = position,
    virt_lines = #below > 0 and below or nil,
    hl_mode = "combine",
    undo_restore = false,
    strict = false,
  })
  shown_in = place.buf
end

--- Show nothing.
function M.hide()
  if shown_in and api.nvim_buf_is_valid(shown_in) then
    api.nvim_buf_del_extmark(shown_in, NAMESPACE, MARK_ID)
  end
  shown_in = nil
end

return M
