"""Owns IB's error texts in other languages, as a gateway installed in one of them says them.

Must not know who is told; unknown phrases stay English, as IB leaves them. The wordings are the simulator's own.
"""

from __future__ import annotations

from typing import Final

# English phrase -> the same in the language; a text is translated phrase by phrase, the longest first.
_PHRASES: Final[dict[str, dict[str, str]]] = {
    "de": {
        "Connectivity between IB and Trader Workstation has been lost.": (
            "Die Verbindung zwischen IB und der Trader Workstation wurde unterbrochen."
        ),
        "Connectivity between IB and Trader Workstation has been restored": (
            "Die Verbindung zwischen IB und der Trader Workstation wurde wiederhergestellt"
        ),
        "data lost.": "Daten verloren.",
        "data maintained.": "Daten erhalten.",
        "Market data farm connection is OK": "Marktdatenfarm-Verbindung ist in Ordnung",
        "Market data farm connection is broken": "Marktdatenfarm-Verbindung ist unterbrochen",
        "HMDS data farm connection is OK": "HMDS-Datenfarm-Verbindung ist in Ordnung",
        "HMDS data farm connection is broken": "HMDS-Datenfarm-Verbindung ist unterbrochen",
        "Sec-def data farm connection is OK": "Sec-def-Datenfarm-Verbindung ist in Ordnung",
        "Sec-def data farm connection is broken": "Sec-def-Datenfarm-Verbindung ist unterbrochen",
        "Historical Market Data Service error message": "Fehlermeldung des Dienstes für historische Marktdaten",
        "Historical data request pacing violation": "Überschreitung des Anfragelimits für historische Daten",
        "HMDS query returned no data": "HMDS-Anfrage lieferte keine Daten",
        "No security definition has been found for the request": "Für die Anfrage wurde kein Wertpapier gefunden",
        "The contract description specified for": "Die Kontraktbeschreibung für",
        "Requested market data is not subscribed.": "Die angeforderten Marktdaten sind nicht abonniert.",
        "No market data during competing live session": "Keine Marktdaten während einer konkurrierenden Live-Sitzung",
        "Max rate of messages per second has been exceeded": "Höchstzahl der Nachrichten pro Sekunde überschritten",
        "Max number of tickers has been reached": "Höchstzahl der Ticker erreicht",
        "Duplicate ticker id": "Ticker-ID bereits vergeben",
        "Can't find EId with tickerId": "EId nicht gefunden für tickerId",
        "Error validating request": "Fehler bei der Prüfung der Anfrage",
        "Unable to connect as the client id is already in use.": "Keine Verbindung: Client-ID wird bereits benutzt.",
    },
    "zh": {
        "Connectivity between IB and Trader Workstation has been lost.": "IB与交易平台之间的连接已中断。",
        "Connectivity between IB and Trader Workstation has been restored": "IB与交易平台之间的连接已恢复",
        "data lost.": "数据丢失。",
        "data maintained.": "数据保留。",
        "Market data farm connection is OK": "市场数据农场连接正常",
        "Market data farm connection is broken": "市场数据农场连接中断",
        "HMDS data farm connection is OK": "历史市场数据农场连接正常",
        "HMDS data farm connection is broken": "历史市场数据农场连接中断",
        "Sec-def data farm connection is OK": "证券定义数据农场连接正常",
        "Sec-def data farm connection is broken": "证券定义数据农场连接中断",
        "Historical Market Data Service error message": "历史市场数据服务错误信息",
        "Historical data request pacing violation": "历史数据请求超出频率限制",
        "HMDS query returned no data": "历史数据查询没有返回数据",
        "No security definition has been found for the request": "未找到该请求的证券定义",
        "The contract description specified for": "合约描述不明确",
        "Requested market data is not subscribed.": "未订阅所请求的市场数据。",
        "No market data during competing live session": "竞争的真实会话期间没有市场数据",
        "Max rate of messages per second has been exceeded": "超过每秒最大消息数",
        "Max number of tickers has been reached": "已达到最大行情数量",
        "Duplicate ticker id": "重复的代码编号",
        "Can't find EId with tickerId": "找不到代码编号",
        "Error validating request": "验证请求时出错",
        "Unable to connect as the client id is already in use.": "无法连接:客户编号已被使用。",
    },
}
LANGUAGES: Final = ("en", *sorted(_PHRASES))
_LONGEST_FIRST: Final = {
    language: sorted(phrases.items(), key=lambda pair: -len(pair[0])) for language, phrases in _PHRASES.items()
}


def localized(language: str, text: str) -> str:
    """The text in one of LANGUAGES; names, numbers and phrases that are not known stay as they are.

    Raises: KeyError for a language that is none of them.
    """
    if language == "en":
        return text
    for english, translated in _LONGEST_FIRST[language]:
        text = text.replace(english, translated)
    return text
