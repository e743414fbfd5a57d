--- Where the cursor is, in which version of which buffer. Knows nothing of suggestions.
local api = vim.api

---@class seed.Place
---@field buf integer
---@field row integer from 0
---@field col integer in bytes
---@field line string
---@field num_lines integer
---@field version integer as the server knows it
local M = {}

--- The cursor's place now.
---@return seed.Place
function M.take()
  local buf = api.nvim_get_current_buf()
  local row, col = unpack(api.nvim_win_get_cursor(0))
  return {
    buf = buf,
    row = row - 1,
    col = col,
    line = api.nvim_get_current_line(),
    num_lines = api.nvim_buf_line_count(buf),
    version = vim.lsp.util.buf_versions[buf] or 0,
  }
end

--- Whether nothing was typed and nobody moved between two places.
---@param one seed.Place?
---@param other seed.Place?
---@return boolean
function M.is_same(one, other)
  return one ~= nil
    and other ~= nil
    and one.buf == other.buf
    and one.version == other.version
    and one.row == other.row
    and one.col == other.col
end

--- Bytes of a line before a position of the protocol.
---@param line string
---@param encoding string
---@param character integer
---@return integer
function M.to_byte(line, encoding, character)
  return vim.str_byteindex(line, encoding, character, false)
end

--- The place as the protocol has it.
---@param place seed.Place
---@param encoding string
---@return { line: integer, character: integer }
function M.to_position(place, encoding)
  return { line = place.row, character = vim.str_utfindex(place.line, encoding, place.col, false) }
end

--- What was typed between an earlier place and this one; nil if something else has changed there.
---@param before seed.Place
---@param now seed.Place
---@return string?
function M.typed(before, now)
  local is_behind = now.row > before.row or (now.row == before.row and now.col >= before.col)
  local num_added = now.num_lines - before.num_lines
  if now.buf ~= before.buf or not is_behind or now.row - before.row ~= num_added then
    return nil
  end
  if now.line:sub(now.col + 1) ~= before.line:sub(before.col + 1) then
    return nil
  end
  local first = api.nvim_buf_get_lines(now.buf, before.row, before.row + 1, true)[1]
  if first:sub(1, before.col) ~= before.line:sub(1, before.col) then
    return nil
  end
  local lines = api.nvim_buf_get_text(now.buf, before.row, before.col, now.row, now.col, {})
  return table.concat(lines, "\n")
end

--- Put text at the cursor, and the cursor behind it; a step of its own for undo.
---@param added string
function M.insert(added)
  vim.cmd("let &l:undolevels = &l:undolevels")
  local now = M.take()
  local lines = vim.split(added, "\n", { plain = true })
  api.nvim_buf_set_text(now.buf, now.row, now.col, now.row, now.col, lines)
  local col = #lines == 1 and now.col + #added or #lines[#lines]
  api.nvim_win_set_cursor(0, { now.row + #lines, col })
  vim.cmd("let &l:undolevels = &l:undolevels")
end

return M
