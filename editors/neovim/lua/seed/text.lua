--- Pieces of a suggestion. Pure functions of strings; knows neither buffers nor servers.
local M = {}

--- `text` with every line break as Neovim has them in memory.
---@param text string
---@return string
function M.normalize(text)
  return (text:gsub("\r\n?", "\n"))
end

--- What "accept a word" takes: blanks and the word or the run of signs behind them.
--- Bytes above 127 count as letters, so no character is ever cut in two.
---@param text string
---@return string
function M.first_word(text)
  return text:match("^%s*[%w_\128-\255]+") or text:match("^%s*[^%w_%s\128-\255]+") or text
end

--- What "accept a line" takes: up to the end of the first line that is not blank.
---@param text string
---@return string
function M.first_line(text)
  return text:match("^%s*[^\n]*")
end

--- What is left of `text` behind `typed`; nil if `typed` is something else.
---@param text string
---@param typed string
---@return string?
function M.behind(text, typed)
  if text:sub(1, #typed) == typed then
    return text:sub(#typed + 1)
  end
end

--- The text that an item adds at the cursor; nil if it replaces anything there.
---@param item { insertText: any, range: table? }
---@param line string the cursor's line
---@param column integer the cursor, in bytes
---@param to_byte fun(character: integer): integer from a position on that line to bytes
---@return string?
function M.of_item(item, line, column, to_byte)
  local inserted = item.insertText
  if type(inserted) ~= "string" then
    return nil
  end
  inserted = M.normalize(inserted)
  if not item.range then
    return inserted
  end
  local first, last = to_byte(item.range.start.character), to_byte(item.range["end"].character)
  local rest = M.behind(inserted, line:sub(first + 1, column))
  local kept = line:sub(column + 1, last)
  if not rest or rest:sub(#rest - #kept + 1) ~= kept then
    return nil
  end
  return rest:sub(1, #rest - #kept)
end

--- `line` with its tabs as blanks, for virtual text shows them as `^I`.
---@param line string
---@param column integer the screen column on which it begins
---@param tabstop integer
---@return string
function M.expand_tabs(line, column, tabstop)
  local parts = vim.split(line, "\t", { plain = true })
  local expanded = parts[1]
  for index = 2, #parts do
    local at = column + vim.fn.strdisplaywidth(expanded, column)
    expanded = expanded .. (" "):rep(tabstop - at % tabstop) .. parts[index]
  end
  return expanded
end

return M
